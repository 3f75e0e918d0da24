alter table "customers" add column "name" text;
update "customers" set "name" = coalesce("nick", "email");
create index "by_name" on "customers" ("name");
