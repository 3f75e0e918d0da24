// A bad release of the mutex alone: after an interpretation it never lets go of its lock, which is in memory. A new
// instance of the same code works, until its first interpretation.

import { AiMutexDO as Mutex } from "./ai-mutex.js";

export * from "./index.js";
export { default } from "./index.js";

export class AiMutexDO extends Mutex {
  #lock = Promise.resolve();

  async ask(...asked) {
    await this.#lock;
    const answer = await super.ask(...asked);
    this.#lock = new Promise(() => {});
    return answer;
  }

  async show(...asked) {
    await this.#lock;
    return super.show(...asked);
  }

  async health(...asked) {
    await this.#lock;
    return super.health(...asked);
  }

  async describe() {
    await this.#lock;
    return super.describe();
  }
}
