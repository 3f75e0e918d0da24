update "customers" set "email" = lower("email") where "nick" is null;
