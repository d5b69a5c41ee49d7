-- A queue table, filled by a plpgsql trigger for each row.
CREATE TABLE queue (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL,
    key    text NOT NULL,
    op     text NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO queue (entity, key, op) VALUES (TG_TABLE_NAME, 'product:' || OLD.product_id, TG_OP);
    ELSE
        INSERT INTO queue (entity, key, op) VALUES (TG_TABLE_NAME, 'product:' || NEW.product_id, TG_OP);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON product FOR EACH ROW EXECUTE FUNCTION capture();
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON review FOR EACH ROW EXECUTE FUNCTION capture();
