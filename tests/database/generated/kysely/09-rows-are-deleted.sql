delete from "orders" where "total" < 10;
