-- name: ubuntu_irc
-- The same events as ubuntu_irc.toml, written in SQL: public Ubuntu IRC logs of January 2013.
-- Columns: ts, channel, seq, kind, user, target, text. Times have the resolution of a minute; rows are in order.

CREATE TABLE rows AS
SELECT row_number() OVER () - 1 AS source_row, TRY_CAST(ts AS TIMESTAMPTZ) AS event_time, channel, kind, "user",
  target, "text"
FROM read_csv($log, auto_detect = false, header = true, delim = ',', quote = '"', store_rejects = true,
  columns = {'ts': 'VARCHAR', 'channel': 'VARCHAR', 'seq': 'VARCHAR', 'kind': 'VARCHAR', 'user': 'VARCHAR',
             'target': 'VARCHAR', 'text': 'VARCHAR'});

-- Somebody takes another nick and stays the same person: follow each change to the first name of its holder.
CREATE TABLE changes AS
SELECT change.source_row AS taken_at, change.target AS name, change."user" AS held, earlier.source_row AS held_since
FROM (FROM rows WHERE kind = 'nick_change') AS change
ASOF LEFT JOIN (FROM rows WHERE kind = 'nick_change') AS earlier
  ON change."user" = earlier.target AND change.source_row > earlier.source_row;

CREATE TABLE people AS
WITH RECURSIVE followed AS (
  SELECT taken_at, name, held AS person FROM changes WHERE held_since IS NULL
  UNION ALL
  SELECT change.taken_at, change.name, followed.person
  FROM changes AS change JOIN followed ON change.held_since = followed.taken_at
)
FROM followed;

-- What people say, and what they do ("/me waves"). "nick: hello" is addressed to nick.
SELECT 'message' AS kind, source_row, event_time, coalesce(author.person, "user") AS user_id, channel, "text",
  CASE WHEN addressed.nick <> '' THEN [coalesce(recipient.person, addressed.nick)] END AS recipients
FROM (SELECT *, regexp_extract("text", '^(n[0-9a-f]{10})[:,]', 1) AS nick FROM rows
      WHERE kind IN ('message', 'action')) AS addressed
ASOF LEFT JOIN people AS author ON "user" = author.name AND source_row >= author.taken_at
ASOF LEFT JOIN people AS recipient ON nick = recipient.name AND source_row >= recipient.taken_at;

-- A bot warns a user who floods a channel.
SELECT 'sanction' AS kind, source_row, event_time, coalesce(person, target) AS user_id, 'warning' AS action,
  1 AS severity, 'flood' AS policy, 'automated' AS source
FROM rows ASOF LEFT JOIN people ON target = name AND source_row >= taken_at WHERE kind = 'flood_warning';

-- A bot mutes a user, or says that it would have.
SELECT 'sanction' AS kind, source_row, event_time, coalesce(person, target) AS user_id, 'mute' AS action,
  2 AS severity, 'flood' AS policy, 'automated' AS source
FROM rows ASOF LEFT JOIN people ON target = name AND source_row >= taken_at WHERE kind = 'auto_mute';

-- The monitoring bot reports a repeated offender; the first word of the text is who called the operators.
SELECT 'report' AS kind, source_row, event_time, coalesce(offender.person, target) AS user_id,
  coalesce(caller.person, nick) AS reporter_id, 'repeated_abuse' AS category, channel
FROM (SELECT *, regexp_extract("text", '^(n[0-9a-f]{10}) ', 1) AS nick FROM rows WHERE kind = 'repeated_abuse') AS r
ASOF LEFT JOIN people AS offender ON target = offender.name AND source_row >= offender.taken_at
ASOF LEFT JOIN people AS caller ON nick = caller.name AND source_row >= caller.taken_at;

-- A person calls the operators about a user; the row's own user is the bot that passes the call on.
SELECT 'report' AS kind, source_row, event_time, coalesce(offender.person, target) AS user_id,
  coalesce(caller.person, nick) AS reporter_id, 'ops' AS category, channel
FROM (SELECT *, regexp_extract("text", '^(n[0-9a-f]{10}) ', 1) AS nick FROM rows WHERE kind = 'ops_report') AS r
ASOF LEFT JOIN people AS offender ON target = offender.name AND source_row >= offender.taken_at
ASOF LEFT JOIN people AS caller ON nick = caller.name AND source_row >= caller.taken_at;
