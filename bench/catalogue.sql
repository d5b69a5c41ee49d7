-- What every contender works on: products that are cached as product:<id>, and reviews that change the product they are of.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

-- Every page has room for new versions of all its rows: all updates are HOT, at the first run as at the last, so that what is
-- measured is capture and neither index maintenance nor the history of the table.
CREATE TABLE product (
    product_id  bigint PRIMARY KEY,
    category_id bigint NOT NULL,
    name        text NOT NULL,
    price       numeric(14, 2) NOT NULL
) WITH (fillfactor = 45);
-- Product 0 is the probe's: no load touches it.
INSERT INTO product
SELECT n, n % 1000, 'A product of the shop, number ' || n, n % 100 FROM generate_series(0, 100000) n;

CREATE TABLE review (
    review_id  bigint PRIMARY KEY,
    product_id bigint NOT NULL REFERENCES product,
    rating     smallint NOT NULL,
    body       text NOT NULL
);
CREATE INDEX review_product ON review (product_id);

-- Somebody who has nothing to do with any of it.
CREATE TABLE bystander (id bigint PRIMARY KEY, value bigint NOT NULL);
INSERT INTO bystander SELECT n, 0 FROM generate_series(1, 1000) n;
