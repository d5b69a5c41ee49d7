-- What the command refresh works on: views of 100,000 and of 1,000 rows. Their queries cost next to nothing, so that nothing hides
-- what is added to a refresh.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE TABLE item (
    item_id     bigint PRIMARY KEY,
    category_id bigint NOT NULL,
    name        text NOT NULL,
    price       numeric(14, 2) NOT NULL
) WITH (fillfactor = 45);
INSERT INTO item SELECT n, n % 1000, 'An item of the shop, number ' || n, n % 100 FROM generate_series(1, 100000) n;

CREATE TABLE small_item (LIKE item INCLUDING ALL) WITH (fillfactor = 45);
INSERT INTO small_item SELECT * FROM item WHERE item_id <= 1000;

CREATE MATERIALIZED VIEW item_view AS SELECT item_id, category_id, name, price FROM item;
CREATE UNIQUE INDEX ON item_view (item_id);
CREATE MATERIALIZED VIEW small_item_view AS SELECT item_id, category_id, name, price FROM small_item;
CREATE UNIQUE INDEX ON small_item_view (item_id);
-- Never registered.
CREATE MATERIALIZED VIEW unmanaged_view AS SELECT item_id, category_id, name, price FROM item;
CREATE UNIQUE INDEX ON unmanaged_view (item_id);
