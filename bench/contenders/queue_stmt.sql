-- The same queue table, filled once a statement from its transition table.
CREATE TABLE queue (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL,
    key    text NOT NULL,
    op     text NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO queue (entity, key, op) SELECT TG_TABLE_NAME, 'product:' || product_id, TG_OP FROM changed;
    RETURN NULL;
END
$$;
CREATE TRIGGER capture_update AFTER UPDATE ON product REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION capture();
CREATE TRIGGER capture_insert AFTER INSERT ON review REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION capture();
