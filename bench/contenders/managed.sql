-- Registered views, refreshed on request only; the program changes that where it measures something else.
CREATE EXTENSION cache_sync;
CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url :'url');
SELECT cache_sync.register_table('product', key => 'product:{product_id}');
SELECT cache_sync.register_view('item_view', key => 'item_view:{item_id}', on_change => false);
SELECT cache_sync.register_view('small_item_view', key => 'small_item_view:{item_id}', on_change => false);
SELECT cache_sync.drain() AS is_live \gset
\if :is_live
\else
  \warn 'cache_sync did not reach Redis'
  SELECT 1 / 0 AS not_live;
\endif
