-- An empty C row trigger: what the trigger mechanism costs.
CREATE FUNCTION empty() RETURNS trigger LANGUAGE c AS :'empty_trigger', 'bench_empty_trigger';
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON product FOR EACH ROW EXECUTE FUNCTION empty();
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON review FOR EACH ROW EXECUTE FUNCTION empty();
