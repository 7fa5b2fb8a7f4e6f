'use strict';
// Pure: what prisma-client-py sends (GraphQL text) as what Prisma's engine 5 takes (its JSON protocol), and the answers back.
const { parse } = require('graphql/language/parser');

const ACTIONS = ['findUnique', 'findFirst', 'findMany', 'createOne', 'createMany', 'updateOne', 'updateMany', 'upsertOne',
  'deleteOne', 'deleteMany', 'aggregate', 'groupBy'];
const RAW = new Set(['queryRaw', 'executeRaw']);
// Arguments of an operation that speak of a model's fields; orderBy, take, distinct and the like hold no value of a column.
const OF_FIELDS = new Set(['where', 'data', 'create', 'update', 'cursor']);
const LOGIC = new Set(['AND', 'OR', 'NOT']);
// Filters on a Json column whose value is plain text, not JSON.
const PLAIN = new Set(['path', 'mode', 'string_contains', 'string_starts_with', 'string_ends_with']);

/** model → field → type, of a Prisma schema. */
function fieldsOf(schema) {
  const models = Object.create(null);
  for (const [, model, body] of schema.matchAll(/^model\s+(\w+)\s*\{([\s\S]*?)^\}/gm)) {
    const fields = models[model] = Object.create(null);
    for (const line of body.split('\n')) {
      const field = line.match(/^\s*(\w+)\s+(\w+)/);
      if (field) fields[field[1]] = field[2];
    }
  }
  return models;
}

function literal(node, variables) {
  switch (node.kind) {
    case 'NullValue': return null;
    case 'BooleanValue': case 'StringValue': case 'EnumValue': return node.value;
    case 'IntValue': {
      const number = Number(node.value);
      return Number.isSafeInteger(number) ? number : { $type: 'BigInt', value: node.value };
    }
    case 'FloatValue': return Number(node.value);
    case 'ListValue': return node.values.map((v) => literal(v, variables));
    case 'ObjectValue': return Object.fromEntries(node.fields.map((f) => [f.name.value, literal(f.value, variables)]));
    case 'Variable': return variables[node.name.value];
    default: throw new Error(`GraphQL value of kind ${node.kind}`);
  }
}

// A string for a Json column is JSON text in GraphQL, but a JSON string in the JSON protocol unless it is tagged.
function json(value) {
  if (typeof value === 'string') return { $type: 'Json', value };
  if (Array.isArray(value)) return value.map(json);
  if (!value || typeof value !== 'object' || value.$type) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, PLAIN.has(k) ? v : json(v)]));
}

/** Values of a model's fields: in a filter, in what is written. */
function ofModel(value, model, models) {
  if (Array.isArray(value)) return value.map((v) => ofModel(v, model, models));
  const fields = models[model];
  if (!value || typeof value !== 'object' || value.$type || !fields) return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => {
    if (LOGIC.has(key)) return [key, ofModel(v, model, models)];
    if (fields[key] === 'Json') return [key, json(v)];
    return [key, models[fields[key]] ? ofRelation(v, fields[key], models) : v];
  }));
}

/** What is done to, or asked of, related rows: {create: …}, {is: …}, {update: {where: …, data: …}}. */
function ofRelation(value, model, models) {
  if (Array.isArray(value)) return value.map((v) => ofRelation(v, model, models));
  if (!value || typeof value !== 'object' || value.$type) return value;
  return Object.fromEntries(Object.entries(value).map(([verb, v]) => [verb, ofVerb(v, model, models)]));
}

function ofVerb(value, model, models) {
  if (Array.isArray(value)) return value.map((v) => ofVerb(v, model, models));
  if (!value || typeof value !== 'object' || value.$type) return value;
  const parts = Object.keys(value);
  const nested = parts.length > 0 && parts.every((k) => OF_FIELDS.has(k) || k === 'skipDuplicates') && !parts.some((k) => models[model][k]);
  if (!nested) return ofModel(value, model, models);
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, ofModel(v, model, models)]));
}

function argumentsOf(node, variables, model, models) {
  return Object.fromEntries((node.arguments || []).map((a) => {
    const name = a.name.value, value = literal(a.value, variables);
    return [name, model && OF_FIELDS.has(name) ? ofModel(value, model, models) : value];
  }));
}

function selectionOf(set, variables, model, models) {
  return Object.fromEntries((set ? set.selections : []).map((field) => {
    const name = field.name.value, related = models[model] && models[model][name];
    if (!field.selectionSet && !(field.arguments && field.arguments.length)) return [name, true];
    return [name, {
      arguments: argumentsOf(field, variables, models[related] ? related : undefined, models),
      selection: selectionOf(field.selectionSet, variables, related, models),
    }];
  }));
}

function operation(field, variables, models) {
  const name = field.name.value;
  if (RAW.has(name)) return { action: name, query: { arguments: argumentsOf(field, variables, undefined, models), selection: {} } };
  const start = ACTIONS.find((a) => name.startsWith(a));
  if (!start) throw new Error(`operation ${name}`);
  const throwing = start.startsWith('find') && name.endsWith('OrThrow');
  const modelName = name.slice(start.length, throwing ? -'OrThrow'.length : undefined);
  if (!models[modelName]) throw new Error(`model ${modelName}`);
  return {
    modelName,
    action: throwing ? `${start}OrThrow` : start,
    query: {
      arguments: argumentsOf(field, variables, modelName, models),
      selection: selectionOf(field.selectionSet, variables, modelName, models),
    },
  };
}

/** The operations of one GraphQL request, each with the name under which its answer is expected. */
function toOperations(body, models) {
  return parse(body.query, { noLocation: true }).definitions.flatMap((d) => d.selectionSet.selections)
    .map((field) => ({ alias: (field.alias || field.name).value, operation: operation(field, body.variables || {}, models) }));
}

/** A value of the JSON protocol as GraphQL has it: dates, Json, Bytes and decimals are strings. */
function untagged(value) {
  if (Array.isArray(value)) return value.map(untagged);
  if (value === null || typeof value !== 'object') return value;
  if (typeof value.$type !== 'string') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, untagged(v)]));
  if (value.$type !== 'BigInt') return value.value;
  const number = Number(value.value);
  return Number.isSafeInteger(number) ? number : value.value;
}

/** Rows of a raw query: {columns, types, rows} as the tagged objects of older engines. */
function rawRows(value) {
  if (!value || typeof value !== 'object' || !Array.isArray(value.columns)) return value;
  const tagged = (type, v) => {
    if (v === null || v === undefined) return { prisma__type: 'null', prisma__value: null };
    if (!type.endsWith('-array')) return { prisma__type: type, prisma__value: v };
    return { prisma__type: 'array', prisma__value: v.map((e) => tagged(type.slice(0, -'-array'.length), e)) };
  };
  return value.rows.map((row) => Object.fromEntries(value.columns.map((c, i) => [c, tagged(value.types[i], row[i])])));
}

/** The answer to one operation. */
function toResult(answer, { alias, operation: { action } }) {
  const value = Object.values(answer.data)[0];
  return { data: { [alias]: RAW.has(action) ? rawRows(value) : untagged(value) } };
}

module.exports = { fieldsOf, toOperations, toResult };
