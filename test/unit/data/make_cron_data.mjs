// Writes cron_zones.tsv, cron_next.tsv and cron_next_other.tsv: what an independent implementation of cron, the npm package
// croner 11.0.1, says about next times, and the clock changes of the zones as Node 20's own tz database has them.
// In a directory outside of the repository:   npm install croner@11.0.1 cron-parser@5.10.5
//                                             cp .../make_cron_data.mjs . && node make_cron_data.mjs DIRECTORY
// Random choices are made from a fixed seed, so the same versions write the same files.
import { writeFileSync } from 'node:fs';
import { Cron } from 'croner';
import { CronExpressionParser } from 'cron-parser';

const target = process.argv[2] ?? '.';
const kMinute = 60000;
const kDay = 24 * 60 * kMinute;
// Half an hour, a whole day, midnight, two hours, winter as the exception, offsets with minutes, none at all.
const kZones = ['UTC', 'America/New_York', 'Europe/Berlin', 'Australia/Lord_Howe', 'Pacific/Apia', 'America/Sao_Paulo',
  'America/Havana', 'Asia/Beirut', 'America/St_Johns', 'Antarctica/Troll', 'Africa/Casablanca', 'Europe/Dublin',
  'Asia/Kolkata', 'America/Santiago'];
const kFrom = Date.UTC(2005, 0, 1);
const kTo = Date.UTC(2045, 0, 1);

let seed = 20240310;
function random(limit) {  // xorshift
  seed ^= seed << 13; seed ^= seed >>> 17; seed ^= seed << 5;
  return (seed >>> 0) % limit;
}
const pick = list => list[random(list.length)];

const formats = new Map();
function offset(zone, when) {
  if (!formats.has(zone))
    formats.set(zone, new Intl.DateTimeFormat('en-US', { timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric',
      day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' }));
  const part = Object.fromEntries(formats.get(zone).formatToParts(when).map(p => [p.type, Number(p.value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - when;
}

function changes(zone) {
  const found = [];
  for (let day = kFrom; day < kTo; day += kDay) {
    if (offset(zone, day) === offset(zone, day + kDay)) continue;
    let before = day, after = day + kDay;
    while (after - before > 1000) {
      const middle = Math.floor((before + after) / 2000) * 1000;
      if (offset(zone, middle) === offset(zone, day)) before = middle; else after = middle;
    }
    found.push(after);
  }
  return found;
}

// What runs at times of day, and what runs all the time.
const kFixed = ['30 2 * * *', '0 2 * * *', '0 3 * * *', '15 2 * * *', '45 1 * * *', '30 1 * * *', '0,30 2 * * *', '0 0 * * *',
  '30 0 * * *', '15 0,1,2,3 * * *', '10-12 1-3 * * *', '0 12 30 12 *', '0 2 * * sun', '30 0 1 * *', '59 23 * * *', '5 4 * * 0',
  '1 0 * 3,10 7', '30 2 8-14 mar *', '0 22 * * 1-5', '23 0-20 * * *',
  '0-40/20 2 * * *', '30 1-2/1 * * *'];
const kWild = ['* * * * *', '*/5 * * * *', '0 * * * *', '30 * * * *', '15,45 * * * *', '0 */2 * * *', '*/20 2 * * *',
  '*/30 1 * * *', '* 2 * * *', '10 */3 * * *', '*/15 0 * * *', '0-59/10 * * * *', '59 * 31 dec *'];
const kDays = ['0 0 13 * 5', '0 0 1,15 * mon', '0 12 29 2 *', '0 0 29 2 1', '0 6 31 * *', '30 8 30 * *', '0 0 1 jan *',
  '0 0 31 12 *', '0 0 * * SAT,SUN', '0 0 28-31 Feb *', '0 0 1-7 * 1', '7 7 7 7 7', '0 9 * jan-mar mon-fri', '0 0 * 2 *',
  '0 0 31 1,3,5,7,8,10,12 *', '5-10 3 */9 * *', '0 0 * */5 *', '0 4 * */2 */2'];

function range(low, high) {
  const first = low + random(high - low);
  return `${first}-${first + 1 + random(high - first)}`;
}
function field(low, high, names) {
  const value = () => names && random(2) ? pick(names) : String(low + random(high - low + 1));
  switch (random(7)) {
    case 0: case 1: return '*';
    case 2: return `*/${2 + random(Math.min(15, high - 2))}`;
    case 3: return range(low, high);
    case 4: return `${range(low, high)}/${1 + random(4)}`;
    case 5: return `${value()},${value()},${value()}`;
    default: return value();
  }
}
const kMonths = ['jan', 'Feb', 'MAR', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const kWeekdays = ['sun', 'Mon', 'TUE', 'wed', 'thu', 'fri', 'sat'];
const randomExpression = () => [field(0, 59), field(0, 23), field(1, 31), random(2) ? '*' : field(1, 12, kMonths),
  field(0, 7, kWeekdays)].join(' ');

function next(expression, zone, after, count) {
  const job = new Cron(expression, { timezone: zone, mode: '5-part', fixedTimeRule: 'no-wildcard', paused: true });
  const times = [];
  for (let when = new Date(after); times.length < count; times.push(when.getTime())) {
    when = job.nextRun(when);
    if (!when) break;
  }
  return times;
}
// A second opinion, where there is one: cron-parser refuses some expressions, and knows other rules for clock changes.
function nextOfOther(expression, after, count) {
  let job;
  try {
    job = CronExpressionParser.parse(expression, { tz: 'UTC', currentDate: new Date(after) });
  } catch (error) {
    return null;
  }
  return Array.from({ length: count }, () => job.next().toDate().getTime());
}

// Where cache_sync means to differ; schedule_test.cpp says why. The rows are kept apart, by reason.
const kSkippedDay = Date.UTC(2011, 11, 30, 10);  // when Apia went from the 29th to the 31st
function difference(expression, zone, after, last) {
  const [minute, hour, day, , weekday] = expression.split(' ');
  if (weekday !== '*' && day !== '*' && (day[0] === '*' || weekday[0] === '*')) return 'starred-day';
  const starred = minute[0] === '*' || hour[0] === '*';
  if (!starred && `${minute} ${hour}`.includes('/') && zone !== 'UTC') return 'stepped-range';
  if (!starred && zone === 'Pacific/Apia' && after < kSkippedDay && last > kSkippedDay) return 'skipped-day';
  return '';
}

const rows = [], others = [];
function add(expression, zone, after, count) {
  after -= after % kMinute;
  let times;
  try { times = next(expression, zone, after, count); } catch (error) { return; }  // never true, for one
  if (times.length < count) return;
  const reason = difference(expression, zone, after, times.at(-1));
  if (zone === 'UTC' && reason === '') {
    const second = nextOfOther(expression, after, count);
    if (second && String(second) !== String(times)) { console.log('two opinions:', expression, new Date(after), times, second); return; }
  }
  const row = [zone, expression, after / kMinute, times.map(t => t / kMinute).join(' ')];
  if (reason) others.push([reason, ...row]); else rows.push(row);
}

const zones = kZones.map(zone => ({ zone, first: offset(zone, kFrom), changes: changes(zone) }));
for (const { zone, changes } of zones) {
  for (const change of changes.filter((_, n) => n % 7 === 0 || zone === 'Pacific/Apia').slice(0, 9))
    for (const expression of [...kFixed, ...kWild])
      if (random(2)) add(expression, zone, change - random(14) * 60 * kMinute - 20 * kMinute * random(3), 4);
  for (let n = 0; n < 30; n++)
    add(randomExpression(), zone, kFrom + random(38 * 365) * kDay + random(1440) * kMinute, 3);
}
for (const expression of kDays)
  for (let n = 0; n < 12; n++)
    add(expression, pick(['UTC', 'Asia/Kolkata']), kFrom + random(20 * 365) * kDay + random(1440) * kMinute, 3);
for (let n = 0; n < 500; n++)
  add(randomExpression(), 'UTC', kFrom + random(90 * 365) * kDay + random(1440) * kMinute, 3);

const text = lines => lines.map(line => line.join('\t') + '\n').join('');
writeFileSync(`${target}/cron_zones.tsv`, text(zones.map(({ zone, first, changes }) =>
  [zone, first / 1000, changes.map(t => `${t / 1000}:${offset(zone, t) / 1000}`).join(' ')])));
writeFileSync(`${target}/cron_next.tsv`, text(rows));
writeFileSync(`${target}/cron_next_other.tsv`, text(others));
console.log(rows.length, 'rows,', others.length, 'apart');
