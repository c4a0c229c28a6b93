// Runs one list of steps with the published client; reads {clients, steps} from standard input, writes the results.
import { createRequire } from "node:module";
const require = createRequire(process.argv[2] + "/");
const ffi = require("@cipherstash/protect-ffi");
let text = "";
for await (const chunk of process.stdin) text += chunk;
const { credentials, steps, eqlVersion } = JSON.parse(text);
// EQL's documented defaults, which this package's own are not: those cut a text into words, in their own case.
const ngram = { kind: "ngram", token_length: 3 };
const match = { tokenizer: ngram, token_filters: [{ kind: "downcase" }], k: 6, m: 2048 };
const encryptConfig = {
  v: 1,
  tables: {
    users: {
      email: { cast_as: "text", indexes: { unique: {} } },
      note: { cast_as: "text", indexes: {} },
      small: { cast_as: "int", indexes: {} },
      large: { cast_as: "bigint", indexes: {} },
      ratio: { cast_as: "number", indexes: {} },
      agreed: { cast_as: "boolean", indexes: {} },
      born: { cast_as: "date", indexes: {} },
      seen: { cast_as: "timestamp", indexes: {} },
      extra: { cast_as: "json", indexes: {} },
    },
    people: {
      email: { cast_as: "text", indexes: { unique: {} } },
      note: { cast_as: "text", indexes: { match } },
      age: { cast_as: "bigint", indexes: { unique: {} } },
    },
  },
};
const clients = [];
for (const clientOpts of credentials) clients.push(await ffi.newClient({ encryptConfig, clientOpts, eqlVersion }));
const results = [];
for (const { call, client, opts } of steps) {
  try {
    results.push({ ok: await ffi[call](...(client === undefined ? [] : [clients[client]]), opts) });
  } catch (error) {
    results.push({ error: String(error.message ?? error) });
  }
}
process.stdout.write(JSON.stringify(results, (_, value) => (typeof value === "bigint" ? String(value) : value)));
