'use strict';
// The way to PostgreSQL: Prisma's schema and URL as the driver needs them, and what its adapter leaves to be done.
const fs = require('fs');
const os = require('os');
const pg = require('pg');
const { PrismaPg } = require('@prisma/adapter-pg');
const { bindAdapter } = require('@prisma/driver-adapter-utils');

// Column types that the adapter knows; others (name, void, interval, timestamptz[] …) it refuses, so they are handed on as text.
const KNOWN = new Set([16, 17, 20, 21, 23, 25, 26, 114, 142, 143, 199, 650, 651, 700, 701, 790, 791, 869, 1000, 1001, 1002, 1005, 1007,
  1009, 1014, 1015, 1016, 1021, 1022, 1028, 1041, 1042, 1043, 1082, 1083, 1114, 1115, 1182, 1183, 1184, 1231, 1266, 1560, 1561, 1562,
  1563, 1700, 2950, 2951, 3802, 3807]);
const TEXT = 25, TEXT_ARRAY = 1009, FIRST_OWN_TYPE = 10000;

/** The schema that the client names, ready for the engine, and the URL of its database. */
function readSchema(env) {
  const given = env.PRISMA_DML ? Buffer.from(env.PRISMA_DML, 'base64').toString() : fs.readFileSync(env.PRISMA_DML_PATH, 'utf8');
  const source = given.match(/datasource[^}]*?\burl\s*=\s*(?:env\("([^"]+)"\)|"([^"]+)")/) || [];
  let url = source[1] ? env[source[1]] : source[2];
  if (env.OVERWRITE_DATASOURCES) {
    const text = env.OVERWRITE_DATASOURCES.trim();
    url = JSON.parse(text.startsWith('[') ? text : Buffer.from(text, 'base64').toString())[0].url || url;
  }
  if (!url) throw new Error(`no URL of a database: ${source[1] || 'the schema'} does not give one`);
  const generator = 'generator engine {\n provider = "prisma-client-js"\n previewFeatures = ["driverAdapters"]\n}\n';
  return { schema: `${given.replace(/^generator\s+\w+\s*\{[^}]*\}/gm, '')}\n${generator}`, url: new URL(url) };
}

/** The URL's parameters as the driver's settings. */
function poolSettings(url) {
  const parameter = (name) => url.searchParams.get(name);
  const sslmode = parameter('sslmode') || 'prefer';
  if (!['disable', 'prefer', 'require', 'verify-full'].includes(sslmode)) throw new Error(`sslmode=${sslmode} is not supported`);
  const schema = parameter('schema') || 'public';
  if (!/^\w+$/.test(schema)) throw new Error(`schema=${schema} is not supported`);
  return {
    host: parameter('host') || decodeURIComponent(url.hostname),
    port: Number(url.port || 5432),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
    max: Number(parameter('connection_limit') || os.cpus().length * 2 + 1),
    connectionTimeoutMillis: 1000 * Number(parameter('pool_timeout') || 10),
    // A new connection costs the database 10 ms of CPU to check the password.
    idleTimeoutMillis: 300_000,
    ssl: sslmode === 'require' ? { rejectUnauthorized: false } : sslmode === 'verify-full',
    // The adapter drops the offset of times with a zone, so the session must be in UTC.
    options: `-c timezone=UTC -c search_path="${schema}"`,
    keepAlive: true,
    application_name: 'prisma-engine',
  };
}

function asText(value) {
  if (value === null || value === undefined) return null;
  if (value instanceof Date) return value.toISOString();
  if (typeof value.toPostgres === 'function') return value.toPostgres();
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Turns columns of types that the adapter refuses into text. */
function unknownAsText({ fields, rows }) {
  fields.forEach((field, i) => {
    if (KNOWN.has(field.dataTypeID) || field.dataTypeID >= FIRST_OWN_TYPE) return;
    const list = rows.some((row) => Array.isArray(row[i]));
    for (const row of rows) row[i] = Array.isArray(row[i]) ? row[i].map(asText) : asText(row[i]);
    field.dataTypeID = list ? TEXT_ARRAY : TEXT;
  });
}

/** A pool, and Prisma's adapter over it. */
function connect(url) {
  const settings = poolSettings(url);
  const pool = new pg.Pool(settings);
  // A connection that breaks while nobody uses it; the next query gets another.
  pool.on('error', (error) => console.error('prisma-engine: idle connection:', error.message));
  const queryable = Object.getPrototypeOf(PrismaPg.prototype);
  const performIO = queryable.performIO;
  queryable.performIO = async function (query) {
    const result = await performIO.call(this, query);
    if (result.ok && result.value.fields) unknownAsText(result.value);
    return result;
  };
  return { pool, adapter: bindAdapter(new PrismaPg(pool, { schema: url.searchParams.get('schema') || 'public' })) };
}

module.exports = { readSchema, poolSettings, connect };
