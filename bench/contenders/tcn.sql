-- contrib/tcn: NOTIFY from C. It can only send the primary key, which for a review is not what is cached.
CREATE EXTENSION tcn;
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON product
    FOR EACH ROW EXECUTE FUNCTION triggered_change_notification('cache');
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON review
    FOR EACH ROW EXECUTE FUNCTION triggered_change_notification('cache');
