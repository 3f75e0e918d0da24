create table "items_copy" ("id" integer primary key, "order_id" integer not null references "orders" ("id"), "sku" text not null, "qty" integer default 1 not null);
insert into "items_copy" ("id", "order_id", "sku", "qty") select "o"."id", "o"."order_id", "o"."sku", "o"."qty" from "order_items" as "o";
drop table "order_items";
create table "order_items" ("id" integer primary key, "order_id" integer not null references "orders" ("id"), "sku" text not null, "qty" integer default 1 not null, constraint "once" unique ("order_id", "sku"));
insert into "order_items" ("id", "order_id", "sku", "qty") select "id", "order_id", "sku", "qty" from "items_copy";
drop table "items_copy";
