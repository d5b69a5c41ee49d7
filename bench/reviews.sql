-- The rows of the COPY workload, spread over all products.
COPY (SELECT n, 1 + n * 7919 % 100000, n % 5, 'A review of some sixty bytes, as people write them, number ' || n
        FROM generate_series(1, 100000) n) TO :'file';
