// A bad release in which only sessions fail: it reads a table that does not exist. Requests without a session work.

import { SessionDO as Session } from "./session.js";

export * from "./index.js";
export { default } from "./index.js";

export class SessionDO extends Session {
  open(user, expires) {
    this.ctx.storage.sql.exec("INSERT INTO sessions VALUES (?, ?, ?)", user, 0, expires);
  }

  read() {
    return this.ctx.storage.sql.exec("SELECT user, revoked FROM sessions").toArray()[0] ?? null;
  }

  revoke() {
    this.ctx.storage.sql.exec("UPDATE sessions SET revoked = 1");
  }
}
