// A bad release in which only the mutex fails: it never releases its lock, which is in memory, after an interpretation.
// A new instance of the same code works until its first interpretation.

import { AiMutexDO as Mutex } from "./ai-mutex.js";

export * from "./index.js";
export { default } from "./index.js";

export class AiMutexDO extends Mutex {
  #lock = Promise.resolve();

  async ask(...given) {
    await this.#lock;
    const answer = await super.ask(...given);
    this.#lock = new Promise(() => {});
    return answer;
  }

  async show(...given) {
    await this.#lock;
    return super.show(...given);
  }

  async health(...given) {
    await this.#lock;
    return super.health(...given);
  }

  async describe() {
    await this.#lock;
    return super.describe();
  }
}
