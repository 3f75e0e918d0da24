INSERT INTO customers (id, email, nick) VALUES (1, 'A@shop.example', NULL), (2, 'b@shop.example', 'bea'), (3, 'C@shop.example', 'cy');
INSERT INTO orders (id, customer_id, total) VALUES (1, 1, 5), (2, 1, 20), (3, 2, 8), (4, 3, 30);
INSERT INTO order_items (id, order_id, sku, qty) VALUES (1, 1, 'rye', 1), (2, 1, 'oat', 2), (3, 2, 'rye', 1), (4, 3, 'rye', 1), (5, 4, 'oat', 3);
INSERT INTO categories (id, parent_id, name) VALUES (1, NULL, 'bread'), (2, 1, 'rye'), (3, 2, 'dark');
INSERT INTO notes (id, author_id, body) VALUES (1, 1, 'call'), (2, 2, 'mail'), (3, NULL, 'none');
INSERT INTO settings ("key", value, hint) VALUES ('currency', 'EUR', NULL), ('rate', '012', 'tax'), ('open', '1', NULL);
INSERT INTO tags (id, name, color) VALUES (1, 'new', 'red'), (2, 'old', NULL), (3, 'aged', 'blue');
