-- What is most often suggested: a row trigger that sends the key with NOTIFY.
CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM pg_notify('cache', 'product:' || OLD.product_id);
    ELSE
        PERFORM pg_notify('cache', 'product:' || NEW.product_id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON product FOR EACH ROW EXECUTE FUNCTION capture();
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON review FOR EACH ROW EXECUTE FUNCTION capture();
