-- Logical decoding: nothing at the tables; the cluster needs wal_level = logical and a consumer that is always there.
SELECT pg_create_logical_replication_slot('bench', 'wal2json');
