CREATE EXTENSION cache_sync;
CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url :'url');
SELECT cache_sync.register_table('product', key => 'product:{product_id}');
SELECT cache_sync.register_table('review', key => 'product:{product_id}');
SELECT cache_sync.drain() AS is_live \gset
\if :is_live
\else
  \warn 'cache_sync did not reach Redis'
  SELECT 1 / 0 AS not_live;
\endif
