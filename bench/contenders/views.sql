-- No key of the tables, only a view over them that is refreshed on change: what the change triggers cost. The cluster runs with
-- cache_sync.max_refresh_workers = 0, so nothing is refreshed.
CREATE EXTENSION cache_sync;
CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url :'url');
CREATE MATERIALIZED VIEW totals AS
    SELECT (SELECT count(*) FROM product) AS products, (SELECT count(*) FROM review) AS reviews;
SELECT cache_sync.register_view('totals', key => 'totals');
SELECT cache_sync.drain() AS is_live \gset
\if :is_live
\else
  \warn 'cache_sync did not reach Redis'
  SELECT 1 / 0 AS not_live;
\endif
