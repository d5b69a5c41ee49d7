-- Functions of the library that capture: triggers, rules, and what is queued by hand.

CREATE FUNCTION cache_sync._library_version()
RETURNS text
LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cache_sync_library_version';

CREATE FUNCTION cache_sync.capture()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_capture';

COMMENT ON FUNCTION cache_sync.capture() IS
'Row trigger of registered tables; placed by cache_sync.register_table()';

CREATE FUNCTION cache_sync.capture_truncate()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_capture_truncate';

COMMENT ON FUNCTION cache_sync.capture_truncate() IS
'TRUNCATE trigger of registered tables; placed by cache_sync.register_table()';

CREATE FUNCTION cache_sync.rule_changed()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_rule_changed';

COMMENT ON FUNCTION cache_sync.rule_changed() IS
'Trigger of cache_sync.rule: makes every session read the rules again';

CREATE TRIGGER rule_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cache_sync.rule
    FOR EACH STATEMENT EXECUTE FUNCTION cache_sync.rule_changed();
ALTER TABLE cache_sync.rule ENABLE ALWAYS TRIGGER rule_changed;

-- Runs with the caller's rights and search_path, which is where the names in the condition are looked up.
CREATE FUNCTION cache_sync._check_rule(relation regclass, key text, tags text[], columns name[], condition text)
RETURNS text
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_check_rule';

CREATE FUNCTION cache_sync._store_rule(relation regclass, key text, tags text[], columns name[], condition text)
RETURNS bigint
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_store_rule';

CREATE FUNCTION cache_sync._delete_rules(relation regclass, key text)
RETURNS integer
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_delete_rules';

-- In REPEATABLE READ and SERIALIZABLE: serialization_failure if rules changed since the transaction's snapshot.
CREATE FUNCTION cache_sync._check_snapshot()
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_check_snapshot';

CREATE FUNCTION cache_sync.invalidate(VARIADIC keys text[])
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_invalidate';

COMMENT ON FUNCTION cache_sync.invalidate(text[]) IS
'Queues these cache keys with the calling transaction, as if rows of registered tables had changed. Keys are without the '
'targets'' prefix. Errors: null_value_not_allowed for a NULL, invalid_parameter_value for an empty key. '
'Nobody may call it but superusers: GRANT EXECUTE to the roles of your applications.';

CREATE FUNCTION cache_sync.invalidate_tags(VARIADIC tags text[])
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_invalidate_tags';

COMMENT ON FUNCTION cache_sync.invalidate_tags(text[]) IS
'Queues these tags with the calling transaction: every cache entry that carries one becomes invalid. Errors: '
'null_value_not_allowed for a NULL, invalid_parameter_value for a tag that is empty or holds a comma or a control character. '
'Nobody may call it but superusers: GRANT EXECUTE to the roles of your applications.';

CREATE FUNCTION cache_sync.key(template text, VARIADIC "values" "any")
RETURNS text
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'cache_sync_key';

-- A template without columns has no values.
CREATE FUNCTION cache_sync.key(template text)
RETURNS text
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'cache_sync_key';

COMMENT ON FUNCTION cache_sync.key(text) IS
'Renders a key template without columns by hand. Errors: as those of key(text, VARIADIC "any").';

COMMENT ON FUNCTION cache_sync.key(text, "any") IS
'Renders a key template by hand. The values fill the template''s columns in the order of their first appearance; a NULL '
'value makes the key NULL. Errors: invalid_parameter_value for a bad template (with its offset) or another number of values.';

CREATE FUNCTION cache_sync._explain_row(relation regclass, row_value record)
RETURNS TABLE (rule bigint, kind text, name text)
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'cache_sync_explain_row';

CREATE FUNCTION cache_sync._queue_flush(target name)
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_queue_flush';

-- What DDL changes without a row trigger: see 70_events.sql.

CREATE FUNCTION cache_sync._touch_everything(relation oid)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_touch_everything';

CREATE FUNCTION cache_sync._touch_altered(command pg_ddl_command, is_restoring boolean)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_touch_altered';

CREATE FUNCTION cache_sync._touch_dropped(relation oid)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_touch_dropped';

CREATE FUNCTION cache_sync._renames_enum_value(command pg_ddl_command)
RETURNS boolean
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_renames_enum_value';

CREATE FUNCTION cache_sync._enables_triggers(command pg_ddl_command)
RETURNS boolean
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_enables_triggers';

CREATE FUNCTION cache_sync._before_alter()
RETURNS event_trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_before_alter';

CREATE FUNCTION cache_sync._condition_error(relation oid, condition text)
RETURNS text
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_condition_error';
