-- Everything cache_sync has to be told: where the cache is, and which keys and tags a row stands for.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE EXTENSION cache_sync;
CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url :'url');

SELECT cache_sync.register_table('product', key => 'product:{product_id}', tags => ARRAY['category:{category_id}']);
-- A card shows the number of reviews and their mean, so a review changes the card of its product.
SELECT cache_sync.register_table('review', key => 'product:{product_id}');
SELECT cache_sync.register_table('probe', key => 'probe:{probe_id}');

-- Refreshed when something that they read changed, the second after the first; the keys are those of the rows that a refresh
-- changed. Writes never stop here, so min_interval says how far behind the views may be and how much of a core they cost.
SELECT cache_sync.register_view('product_view', key => 'product_view:{product_id}', min_interval => :'interval');
SELECT cache_sync.register_view('top_products_per_category', key => 'top:{category_id}', min_interval => :'interval');
