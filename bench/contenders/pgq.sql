-- PgQ's own C trigger; no ticker and no consumer, so this is what the writer pays.
CREATE EXTENSION pgq;
SELECT pgq.create_queue('changes');
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON product
    FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('changes');
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON review
    FOR EACH ROW EXECUTE FUNCTION pgq.logutriga('changes');
