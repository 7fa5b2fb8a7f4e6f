'use strict';
// Stands in for Prisma's query engine as prisma-client-py 0.11 drives it: GraphQL over HTTP in, Prisma's own engine, which npm carries
// as WebAssembly in @prisma/client, inside. docs/decisions/0002-prisma-engine.md tells why.
const fs = require('fs');
const http = require('http');
const path = require('path');
const { readSchema, connect } = require('./database');
const { fieldsOf, toOperations, toResult } = require('./translate');
const { isOurs } = require('./peer');

const TRACE = '{}';
const runtime = path.join(path.dirname(require.resolve('@prisma/client/package.json')), 'runtime');
const wasm = require(path.join(runtime, 'query_engine_bg.postgresql.js'));

const failure = (message, code = 'P2009') =>
  ({ errors: [{ error: message, user_facing_error: { is_panic: false, message, meta: {}, error_code: code } }] });

class Engine {
  constructor(schema, url) {
    this.url = url;
    this.models = fieldsOf(schema);
    ({ pool: this.pool, adapter: this.adapter } = connect(url));
    const bytes = fs.readFileSync(path.join(runtime, 'query_engine_bg.postgresql.wasm'));
    wasm.__wbg_set_wasm(new WebAssembly.Instance(new WebAssembly.Module(bytes), { './query_engine_bg.js': wasm }).exports);
    this.engine = new wasm.QueryEngine({ datamodel: schema, logLevel: 'error', logQueries: false }, () => {}, this.adapter);
  }

  connect() {
    return this.engine.connect(TRACE);
  }

  async disconnect() {
    await this.engine.disconnect(TRACE);
    await this.pool.end();
  }

  /** One request of the client: a single operation, several, or a batch of requests. */
  async run(body, transaction) {
    if (Array.isArray(body.batch)) return this.batch(body, transaction);
    const operations = toOperations(body, this.models);
    if (operations.length === 1) {
      const answer = await this.ask(operations[0].operation, transaction);
      return answer.errors ? { data: null, errors: this.named(answer.errors) } : toResult(answer, operations[0]);
    }
    const all = await this.batch({ batch: [body], transaction: true }, transaction);
    return all.errors ? { errors: all.errors } : { data: Object.assign({}, ...all.batchResult.map((r) => r.data)) };
  }

  async batch(body, transaction) {
    const operations = body.batch.flatMap((request) => toOperations(request, this.models));
    if (operations.length === 0) return { batchResult: [] };
    const payload = { batch: operations.map((o) => o.operation) };
    // Inside an interactive transaction the batch already is one.
    if (body.transaction && !transaction) payload.transaction = {};
    const answer = await this.ask(payload, transaction);
    if (answer.errors) return { errors: this.named(answer.errors) };
    const batchResult = answer.batchResult.map((r, i) =>
      (r.errors ? { data: null, errors: this.named(r.errors) } : toResult(r, operations[i])));
    const failed = batchResult.find((r) => r.errors);
    return failed ? { batchResult, errors: failed.errors } : { batchResult };
  }

  async ask(payload, transaction) {
    return JSON.parse(await this.engine.query(JSON.stringify(payload), TRACE, transaction));
  }

  async transact(route, body) {
    if (route === 'start') {
      const options = { max_wait: body.max_wait ?? 2000, timeout: body.timeout ?? 5000, isolation_level: body.isolation_level };
      return this.checked(await this.engine.startTransaction(JSON.stringify(options), TRACE));
    }
    const [id, end] = route.split('/');
    if (end === 'commit') return this.checked(await this.engine.commitTransaction(id, TRACE));
    if (end === 'rollback') return this.checked(await this.engine.rollbackTransaction(id, TRACE));
    throw new Error(`transaction/${end}`);
  }

  checked(text) {
    const answer = JSON.parse(text || '{}');
    if (!answer.error_code) return answer;
    return { errors: this.named([{ error: (answer.meta && answer.meta.error) || answer.message, user_facing_error: answer }]) };
  }

  /** Errors of the driver come back as a number; the client wants Prisma's own codes for a database that is away or busy. */
  named(errors) {
    for (const error of errors) {
      const known = error.user_facing_error;
      if (!known || known.error_code !== 'P2036') continue;
      const entry = this.adapter.errorRegistry.consumeError(known.meta && known.meta.id);
      const cause = entry && entry.error ? String(entry.error.message || entry.error.code || entry.error) : known.message;
      const busy = /timeout exceeded when trying to connect/.test(cause);
      known.error_code = busy ? 'P2024' : 'P1001';
      known.message = busy ? `Timed out fetching a new connection from the connection pool. ${cause}`
        : `Can't reach database server at \`${this.url.hostname}\`:\`${this.url.port || 5432}\` (${cause})`;
      known.meta = {};
      error.error = known.message;
    }
    return errors;
  }
}

async function answer(engine, request, text) {
  const [place, parameters] = request.url.split('?');
  if (place === '/status') return { status: 'ok' };
  if (place === '/metrics') return /format=json/.test(parameters) ? { counters: [], gauges: [], histograms: [] } : '';
  if (request.method !== 'POST') return undefined;
  if (place === '/') return engine.run(JSON.parse(text), request.headers['x-transaction-id']);
  if (place.startsWith('/transaction/')) return engine.transact(place.slice('/transaction/'.length), text ? JSON.parse(text) : {});
  return undefined;
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function serve(engine, request, response) {
  if (!await isOurs(request.socket)) return request.socket.destroy();
  let result;
  try {
    result = await answer(engine, request, await read(request));
  } catch (error) {
    console.error('prisma-engine:', error && error.stack ? error.stack : error);
    result = failure(`prisma-engine: ${error && error.message ? error.message : error}`);
    // WebAssembly that has trapped is in no known state; LiteLLM starts another engine.
    if (error instanceof WebAssembly.RuntimeError) response.on('finish', () => process.exit(1));
  }
  const found = result !== undefined;
  response.writeHead(found ? 200 : 404, { 'content-type': 'application/json' });
  return response.end(typeof result === 'string' ? result : JSON.stringify(found ? result : failure('not found')));
}

async function main() {
  const port = Number(process.argv[process.argv.indexOf('-p') + 1]);
  const { schema, url } = readSchema(process.env);
  const engine = new Engine(schema, url);
  await engine.connect();
  const server = http.createServer((request, response) => serve(engine, request, response).catch(() => response.destroy()));
  server.on('connection', isOurs);
  server.keepAliveTimeout = 120_000;
  server.listen(port, '127.0.0.1');
  const stop = () => {
    setTimeout(() => process.exit(0), 1500).unref();
    server.close();
    server.closeIdleConnections();
    engine.disconnect().catch(() => {}).then(() => process.exit(0));
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // Never outlives the process that started it, however that ends.
  const parent = process.ppid;
  setInterval(() => process.ppid === parent || process.exit(0), 1000).unref();
}

main().catch((error) => {
  console.error('prisma-engine: cannot start:', error && error.message ? error.message : error);
  process.exit(1);
});
