// SPDX-License-Identifier: MIT
// One verification by emoji, from either side, step by step as a user takes them.

import {
  VerificationPhase,
  VerificationRequestEvent,
  VerifierEvent,
} from "matrix-js-sdk/lib/crypto-api/index.js";

const METHOD = "m.sas.v1";

export class Verification {
  #request;
  #sas;
  #end;

  constructor(request) {
    this.#request = request;
  }

  /** Accept what another party has requested. */
  async accept() {
    await this.#request.accept();
  }

  /** Start it, or let the other side start it; return what this user is shown. */
  async compare({ start }) {
    await this.#reached(() => this.#request.phase >= VerificationPhase.Ready);
    if (start) await this.#request.startVerification(METHOD);
    await this.#reached(() => this.#request.verifier);
    const verifier = this.#request.verifier;
    this.#sas = await new Promise((resolve, reject) => {
      verifier.once(VerifierEvent.ShowSas, resolve);
      this.#end = verifier.verify();
      this.#end.catch(reject);
    });
    const { emoji, decimal } = this.#sas.sas;
    return { emoji, decimal };
  }

  /** Say that it matches, and return how it ends. */
  async confirm() {
    await this.#sas.confirm();
    await this.#end;
    await this.#reached(() => this.#request.phase === VerificationPhase.Done);
  }

  /** Say that it doesn't match. */
  async mismatch() {
    this.#sas.mismatch();
    return await this.cancelled();
  }

  /** Wait until it is cancelled, and return the code. */
  async cancelled() {
    while (this.#request.phase !== VerificationPhase.Cancelled) await this.#change();
    return { code: this.#request.cancellationCode };
  }

  async #reached(condition) {
    while (!condition()) {
      if (this.#request.phase === VerificationPhase.Cancelled) {
        throw new Error(`cancelled: ${this.#request.cancellationCode}`);
      }
      await this.#change();
    }
  }

  #change() {
    return new Promise((resolve) => this.#request.once(VerificationRequestEvent.Change, resolve));
  }
}
