{#-
  The cursor of a source table: the column that says when a row last changed. Bronze keeps it twice: as the source has
  it, and in `_changed_at` as a moment in UTC. The source's PostgreSQL computes both the moments that bronze
  keeps and the comparison with a window's bounds, so that the two cannot disagree about a time zone.

  kind         type at the source                         moment
  timestamptz  timestamp with time zone                   the value
  timestamp    timestamp                                  the value as local time in `cursor_zone`
  date         date                                       its midnight, UTC
  number       smallint, integer, bigint, numeric(p, 0)   1970 plus that many microseconds
  none         no cursor                                  none: the table is compared whole
-#}

{#- The cursor of the model's source table, with `capture`, how bronze finds its changes: window, full or daily. -#}
{% macro source_cursor(source_table) -%}
    {%- set node = graph.sources.values() | selectattr('source_name', 'equalto', model.sources[0][0])
        | selectattr('name', 'equalto', model.sources[0][1]) | first -%}
    {%- set cursor = declared_cursor(node, source_table.entries) -%}
    {%- do cursor.update({'capture': config.meta_get('capture') or ('window' if cursor.name else 'full')}) -%}
    {{ return(cursor) }}
{%- endmacro %}

{#- The cursor that a source declares: name, bronze_name, data_type, kind, zone; `entries`: columns of the catalog. -#}
{% macro declared_cursor(node, entries) -%}
    {%- set cursor = {'name': node.loaded_at_field, 'kind': 'none', 'zone': node.meta.get('cursor_zone', 'UTC')} -%}
    {%- if cursor.name -%}
        {%- do cursor.update({'label': node.schema ~ '.' ~ node.identifier ~ '.' ~ cursor.name}) -%}
        {%- for entry in entries if entry.name == cursor.name and entry.is_readable -%}
            {%- do cursor.update({
                'bronze_name': entry.bronze_name, 'data_type': entry.data_type, 'kind': cursor_kind(entry.bronze_type)
            }) -%}
        {%- endfor -%}
        {%- if not cursor.data_type -%}
            {{ exceptions.raise_compiler_error(
                'The source has no column ' ~ cursor.label ~ ' that its reader may select, and its loaded_at_field names it.'
                ~ ' Nothing was written.'
            ) }}
        {%- elif not cursor.kind -%}
            {{ exceptions.raise_compiler_error(
                cursor.label ~ ' is ' ~ cursor.data_type ~ ' at the source: a cursor is a timestamp with or without time zone, a'
                ~ ' date, a smallint, integer, bigint or numeric(p,0). Name another column as loaded_at_field, or none.'
                ~ ' Nothing was written.'
            ) }}
        {%- endif -%}
    {%- endif -%}
    {{ return(cursor) }}
{%- endmacro %}

{#- The kind of a cursor by its type in bronze; none for other types. -#}
{% macro cursor_kind(data_type) -%}
    {%- if data_type.startswith('timestamp') -%}
        {{ return('timestamptz' if data_type.endswith('with time zone') else 'timestamp') }}
    {%- elif data_type == 'date' -%}
        {{ return('date') }}
    {%- elif data_type in ['integer', 'bigint'] or (data_type.startswith('decimal') and data_type.endswith(',0)')) -%}
        {{ return('number') }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}

{#-
  Raise an error if the cursor had another kind when bronze captured it, as the type of bronze's column shows. If the
  column gained or lost a time zone, every moment would move. A number can't be compared with dates.
-#}
{% macro check_cursor_type(cursor, data_types) -%}
    {%- set name = cursor.bronze_name -%}
    {%- set kind = cursor_kind(data_types.get(name or '', '')) -%}
    {%- if kind and kind != cursor.kind -%}
        {{ exceptions.raise_compiler_error(
            'The cursor ' ~ cursor.label ~ ' is ' ~ cursor.data_type ~ ' at the source now, and ' ~ data_types[name] ~ ' in ' ~ this ~ '. Nothing was written. Give the'
            ~ ' column its type back. If the new type stays, declare cursor_zone in the meta of the source table unless a'
            ~ ' time without zone is UTC, and let bronze keep the old values beside the new ones: alter table ' ~ this
            ~ ' rename column ' ~ quote_identifier(name) ~ ' to ' ~ quote_identifier(name ~ '_before') ~ '. The next'
            ~ ' medallion_reconcile then captures each row once more.'
        ) }}
    {%- endif -%}
{%- endmacro %}

{#-
  The time that a comparison gives a row, `_changed_at`, and how it read the cursor, `_reading`. If the table has no
  cursor, or the row's cursor is in the future, the time is the source's clock, so that the row's next change is later.
  If the row's cursor is null, the time is 1970, so that any later value of the cursor is later. `select_differences`
  decides by `_reading` which rows are captured.
-#}
{% macro compared_moment(cursor) -%}
    {%- if cursor.kind == 'none' -%}
        now() as _changed_at,
        'none' as _reading
    {%- else -%}
        case
            when {{ cursor_is_missing(cursor) }} then timestamptz '1970-01-01 00:00:00+00'
            when {{ cursor_is_ahead(cursor) }} then now()
            else {{ cursor_moment(cursor) }}
        end as _changed_at,
        case
            when {{ cursor_is_missing(cursor) }} then 'null_cursor'
            when {{ cursor_is_ahead(cursor) }} then 'ahead'
            else 'past'
        end as _reading
    {%- endif -%}
{%- endmacro %}

{#-
  The range of moments, UTC, that a run reads. For a date it covers whole days of the cursor's zone. For a number it
  starts with the highest that bronze has, because more rows may have got the same number since, and it has no end.
-#}
{% macro cursor_window(cursor) -%}
    {%- set parse = modules.datetime.datetime.fromisoformat -%}
    {%- set context = run_context() -%}
    {%- if cursor.kind == 'number' -%}
        {%- set latest = latest_in_bronze() -%}
        {{ return((parse(latest) if latest else modules.datetime.datetime.min, none)) }}
    {%- endif -%}
    {%- set start, end = parse(context.extract_from), parse(context.extract_to) -%}
    {%- if cursor.kind == 'date' -%}
        {%- set start, end = first_of_day(start, cursor.zone), first_of_day(end, cursor.zone) + modules.datetime.timedelta(days=1) -%}
    {%- endif -%}
    {{ return((start, end)) }}
{%- endmacro %}

{#- A moment as text: windows have read everything before it and will not read that again. None if they read nothing yet. -#}
{% macro covered_to(cursor) -%}
    {%- set end = run_context().extract_to -%}
    {%- if cursor.kind == 'number' -%}
        {{ return(latest_in_bronze()) }}
    {%- elif cursor.kind == 'date' -%}
        {{ return(first_of_day(modules.datetime.datetime.fromisoformat(end), cursor.zone) | string) }}
    {%- endif -%}
    {{ return(end) }}
{%- endmacro %}

{#- The midnight at the start of the day that the moment belongs to in the zone. -#}
{% macro first_of_day(moment, zone) -%}
    {%- if moment.year in (1, 9999) -%}
        {{ return(modules.datetime.datetime(moment.year, moment.month, moment.day)) }}
    {%- endif -%}
    {%- set local = modules.pytz.utc.localize(moment).astimezone(modules.pytz.timezone(zone)) -%}
    {{ return(modules.datetime.datetime(local.year, local.month, local.day)) }}
{%- endmacro %}

{#- The latest moment in bronze, as text, from the table's metadata. -#}
{% macro latest_in_bronze() -%}
    {%- set partitions = this.incorporate(path={'identifier': this.identifier ~ '$partitions'}) -%}
    {%- set rows = run_query(
        "select cast(cast(max(data._changed_at.max) at time zone 'UTC' as timestamp(6)) as varchar) as latest_moment from " ~ partitions
    ) -%}
    {{ return(rows[0].latest_moment | string if rows | length and rows[0].latest_moment else none) }}
{%- endmacro %}

{#- Bronze keeps a number as a moment: that many microseconds after 1970. This returns the number of a moment. -#}
{% macro microseconds(moment) -%}
    {%- set since = modules.datetime.datetime.fromisoformat(moment | string) - modules.datetime.datetime(1970, 1, 1) -%}
    {{ return((since.days * 86400 + since.seconds) * 1000000 + since.microseconds) }}
{%- endmacro %}
