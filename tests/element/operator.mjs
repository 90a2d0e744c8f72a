// SPDX-License-Identifier: MIT
// An operator on the stack that Element is built on: matrix-js-sdk with its Rust crypto.
//
//   node operator.mjs     (requests: the functions in `verbs`; see lines.mjs for the form)
//
// From the first moment to the last it takes and gives keys only where a device was signed by its
// owner (MSC4153), as Element does when told to exclude insecure devices. Keys live in memory, so
// every login is a new device.

import { logger, serve, tell } from "./lines.mjs";
import { createHash } from "node:crypto";
import {
  ClientEvent,
  createClient,
  MatrixEventEvent,
  MemoryStore,
  RoomEvent,
} from "matrix-js-sdk";
import {
  CryptoEvent,
  EventShieldColour,
  EventShieldReason,
  OnlySignedDevicesIsolationMode,
  VerificationPhase,
} from "matrix-js-sdk/lib/crypto-api/index.js";
import { decryptAttachment } from "matrix-encrypt-attachment";
import { Verification } from "./verification.mjs";

let client;
let password;
let verification;
const requests = [];

const crypto = () => client.getCrypto();

/** Resolve when `condition` is true; it is looked at after every sync. */
async function until(condition) {
  while (!condition()) await new Promise((resolve) => client.once(ClientEvent.Sync, resolve));
}

/** Tell of an event as a user sees it: decrypted, or why not, and the shield beside it. */
async function show(event) {
  const failed = event.isDecryptionFailure();
  const decrypted = event.isEncrypted() && !failed;
  const info = decrypted ? await crypto().getEncryptionInfoForEvent(event) : null;
  tell("event", {
    room_id: event.getRoomId(),
    event_id: event.getId(),
    sender: event.getSender(),
    type: failed ? event.getWireType() : event.getType(),
    content: failed ? {} : event.getOriginalContent(),
    decrypted,
    sent_ms: event.getTs(),
    source: event.event,
    failure: failed ? event.decryptionFailureReason : null,
    shield: info && EventShieldColour[info.shieldColour],
    shield_reason: info?.shieldReason == null ? null : EventShieldReason[info.shieldReason],
  });
}

function onTimeline(event, _room, backwards) {
  if (backwards || event.status) return; // history, or our own message on its way out
  const decrypting = event.isEncrypted() && !event.getClearContent();
  if (!decrypting) show(event); // else it comes by onDecrypted
}

const verbs = {
  async login({ url, user_id, password: given }) {
    password = given;
    const login = await createClient({ baseUrl: url, logger }).loginRequest({
      type: "m.login.password",
      identifier: { type: "m.id.user", user: user_id },
      password,
      initial_device_display_name: "operator",
    });
    client = createClient({
      baseUrl: url,
      accessToken: login.access_token,
      userId: login.user_id,
      deviceId: login.device_id,
      store: new MemoryStore(),
      logger,
    });
    await client.initRustCrypto({ useIndexedDB: false });
    crypto().setDeviceIsolationMode(new OnlySignedDevicesIsolationMode());
    client.on(RoomEvent.Timeline, onTimeline);
    client.on(MatrixEventEvent.Decrypted, show);
    client.on(CryptoEvent.VerificationRequestReceived, (request) => requests.push(request));
    await client.startClient({ initialSyncLimit: 100 });
    await until(() => client.isInitialSyncComplete());
    return { user_id: login.user_id, device_id: login.device_id };
  },

  /** Make the account's cross-signing identity; return its master key. */
  async crossSign() {
    await crypto().bootstrapCrossSigning({
      authUploadDeviceSigningKeys: (upload) =>
        upload({
          type: "m.login.password",
          identifier: { type: "m.id.user", user: client.getUserId() },
          password,
        }),
    });
    return { master: await crypto().getCrossSigningKeyId() };
  },

  /** Ask another user in a room to verify, or without a room this account's other devices. */
  async requestVerification({ user_id, room_id }) {
    verification = new Verification(
      await (room_id
        ? crypto().requestVerificationDM(user_id, room_id)
        : crypto().requestOwnUserVerification()),
    );
  },

  /** Accept the next request of somebody else that still waits for it. */
  async acceptVerification() {
    let request;
    while (request?.phase !== VerificationPhase.Requested) {
      if (!requests.length) {
        await new Promise((come) => client.once(CryptoEvent.VerificationRequestReceived, come));
      }
      request = requests.shift();
    }
    verification = new Verification(request);
    await verification.accept();
  },

  compareEmoji: (how) => verification.compare(how),
  confirmEmoji: () => verification.confirm(),
  denyEmoji: () => verification.mismatch(),
  verificationCancelled: () => verification.cancelled(),

  /** Say whether another user was verified: whether their master key is signed by ours. */
  async isVerified({ user_id }) {
    const status = await crypto().getUserVerificationStatus(user_id);
    return { verified: status.isCrossSigningVerified() };
  },

  async createRoom({ invite }) {
    const { room_id } = await client.createRoom({
      preset: "private_chat",
      invite,
      initial_state: [
        {
          type: "m.room.encryption",
          state_key: "",
          content: { algorithm: "m.megolm.v1.aes-sha2" },
        },
      ],
    });
    await until(() => client.getRoom(room_id));
    return { room_id };
  },

  async invite({ room_id, user_id }) {
    await client.invite(room_id, user_id);
  },

  async waitMember({ room_id, user_id }) {
    await until(() => client.getRoom(room_id)?.getMember(user_id)?.membership === "join");
  },

  // Not sendTextMessage: it takes a text that begins with "$" for the id of a thread.
  async send({ room_id, content }) {
    return await client.sendEvent(room_id, null, "m.room.message", content);
  },

  /** Begin a new Megolm session with the next message. */
  async rotateRoomKey({ room_id }) {
    await crypto().forceDiscardSession(room_id);
  },

  /** Return a message's content as a user reads it now, with the last edit in place. */
  async shown({ room_id, event_id }) {
    return { content: client.getRoom(room_id).findEventById(event_id).getContent() };
  },

  /** Export a room as Element Web does as JSON: its events as they are shown, newest last. */
  async exportRoom({ room_id }) {
    const room = client.getRoom(room_id);
    const shown = room
      .getLiveTimeline()
      .getEvents()
      .filter((event) => !event.isRelation("m.replace"))
      .map((event) => {
        const plain = event.toJSON();
        return event.isEncrypted() ? plain.decrypted : plain;
      });
    return {
      room_name: room.name,
      room_creator: room.getCreator(),
      topic: "",
      export_date: new Date().toDateString(),
      exported_by: client.getUserId(),
      messages: shown,
    };
  },

  async download({ file }) {
    const url = client.mxcUrlToHttp(file.url, undefined, undefined, undefined, false, true, true);
    const answer = await fetch(url, {
      headers: { Authorization: `Bearer ${client.getAccessToken()}` },
    });
    if (!answer.ok) throw new Error(`download: ${answer.status}`);
    const data = Buffer.from(await decryptAttachment(await answer.arrayBuffer(), file));
    return { size: data.length, sha256: createHash("sha256").update(data).digest("hex") };
  },
};

await serve(verbs);
process.exit(0); // the SDK's timers would keep it alive
