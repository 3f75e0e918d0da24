create table "customers" ("id" integer primary key autoincrement, "email" text not null, "nick" text);
create table "orders" ("id" integer primary key, "customer_id" integer not null references "customers" ("id") on delete cascade, "total" real not null);
create table "order_items" ("id" integer primary key, "order_id" integer not null references "orders" ("id") on delete cascade, "sku" text not null, "qty" integer default 1 not null);
create table "categories" ("id" integer primary key, "parent_id" integer references "categories" ("id") on delete set null, "name" text);
create table "notes" ("id" integer primary key, "author_id" integer references "customers" ("id") on delete set null, "body" text);
create table "settings" ("key" text primary key, "value" text, "hint" text);
create table "tags" ("id" integer primary key, "name" text not null, "color" text);
