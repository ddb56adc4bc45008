{#-
  Materialization `changelog`: the changelog of a source table. It merges the row versions that the source shows in
  the window into bronze, with one commit for each chunk. A run of the kind `reconcile` compares whole tables
  instead (see `reconcile`), and so does every run if no window can find a table's changes. The model is a plain select
  from one source.

  A version is (natural key, _changed_at, _op, _hash). `_changed_at` is the cursor as a moment (see `source_cursor`), or
  the time that a comparison gave the version. The hash covers the source's columns, including the key, so that equal
  hashes mean equal rows even if a key is null. A version that bronze already has is not changed, unless another version
  overtook it in bronze while the source still shows this one: then it gets this run's `_batch`.

  Configs: natural_key (list of columns), unique_key (of a version), partitioning, capture (window, full or daily).
-#}
{% materialization changelog, adapter='trino' %}
    {%- set source_relation = source(*model.sources[0]) -%}
    {%- set source_table = describe_source(source_relation) -%}
    {%- set cursor = source_cursor(source_table) -%}
    {%- set columns = changelog_columns(source_table.columns, cursor) -%}
    {%- set compares = run_context().kind == 'reconcile' or cursor.capture == 'full' -%}
    {{ run_hooks(pre_hooks) }}
    {#- dbt requires a statement named `main` of every model. A window without a row sends none. -#}
    {% call noop_statement('main', 'nothing captured') %}{% endcall %}
    {% do upgrade_to_changed_at() %}
    {%- set data_types = ensure_table(columns) -%}
    {% do check_cursor_type(cursor, data_types) %}
    {% if compares or cursor.capture == 'window' %}
        {% do check_captured_as(columns, source_table, cursor, compares) %}
    {% endif %}
    {% do set_aside_changed_columns(source_table, data_types) %}
    {%- set bronze = bronze_columns(source_table.columns, data_types) -%}
    {% if not run_context().extract_from %}
        {{ log(this ~ ': nothing to extract', info=true) }}
    {% elif cursor.capture == 'daily' and not compares %}
        {{ log(this ~ ': medallion_reconcile captures this table', info=true) }}
    {% else %}
        {% if compares %}
            {% do reconcile(source_relation, source_table, cursor, bronze, columns) %}
        {% else %}
            {% do capture_window(source_relation, source_table, cursor, bronze, columns) %}
        {% endif %}
        {% do update_comments(columns, compares) %}
    {% endif %}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

{% macro capture_window(source_relation, source_table, cursor, bronze, columns) -%}
    {% for start, end, buckets in window_chunks(source_relation, cursor) %}
        {%- set rows = read_source(
            source_relation, source_table, cursor_moment(cursor) ~ ' as _changed_at', cursor_within(cursor, start, end)
        ) -%}
        {%- set start, end = utc_literal(start), utc_literal(end) -%}
        {% for bucket in range(buckets) %}
            {% call statement('main') %}
                {{ merge_versions(
                    columns,
                    select_new_versions(rows, bronze, start, end, in_bucket(bucket, buckets)),
                    ['target._changed_at >= ' ~ start, 'target._changed_at < ' ~ end]
                ) }}
            {% endcall %}
        {% endfor %}
        {{ log(this ~ ': ' ~ loop.index ~ '/' ~ loop.length ~ ' captured from ' ~ start ~ ' to ' ~ end ~ (' in %d buckets' % buckets if buckets > 1 else ''), info=true) }}
    {% else %}
        {{ log(this ~ ': the source has no row in the window', info=true) }}
    {% endfor %}
{%- endmacro %}

{#-
  Up to version 0.2 bronze had the moment only in `updated_at`. This copies it into the column `_moving`, which gets its
  final name at the end. So if a run is killed, the next one continues the copy. Each statement covers at most 90 months,
  because a writer of Trino opens at most 100 partitions.
-#}
{% macro upgrade_to_changed_at() -%}
    {%- if 'updated_at' in lake_columns() and '_changed_at' not in lake_columns() and env_var('MEDALLION_RUN', '') -%}
        {{ log(this ~ ': copies updated_at into the new column _changed_at', info=true) }}
        {% call statement('upgrade') %}
            alter table {{ this }} add column if not exists _moving timestamp(6) with time zone comment 'When the source changed the row: the cursor as a moment, or the time that a comparison gave the version (UTC).'
        {% endcall %}
        {% call statement('upgrade') %}alter table {{ this }} set properties partitioning = array['month(_moving)']{% endcall %}
        {%- set months -%}
            select cast(cast(min(date_trunc('month', updated_at)) as date) as varchar) as first_month
            from {{ this }}
            where _moving is null
            group by date_diff('month', date '0001-01-01', cast(updated_at as date)) / 90
            order by 1
        {%- endset -%}
        {%- for chunk in run_query(months) -%}
            {% call statement('upgrade') %}
                update {{ this }} set _moving = updated_at
                where _moving is null
                {%- if not loop.last %} and updated_at < timestamp '{{ loop.nextitem.first_month }} 00:00:00 UTC'{% endif %}
            {% endcall %}
        {%- endfor -%}
        {% call statement('upgrade') %}alter table {{ this }} rename column _moving to _changed_at{% endcall %}
        {%- do graph.pop('_lake_columns') -%}
    {%- endif -%}
{%- endmacro %}

{% macro merge_versions(columns, versions, target_bounds=[]) -%}
    {{ merge_into(columns, versions, target_bounds) }}
    when matched then update set _batch = incoming._batch
    when not matched then {{ insert_row(columns) }}
{%- endmacro %}

{#-
  The window is cut into chunks of about `chunk_rows` rows: at full hours or, if the cursor is a number, between any two
  numbers. A chunk spans fewer than 100 months, because a writer of Trino opens at most 100 partitions. If a chunk has
  too many rows nevertheless, its keys are divided into buckets. A number with too many rows is a chunk of its own, so that
  bronze has all lower numbers even if a run is killed between two buckets.
-#}
{% macro window_chunks(source_relation, cursor) -%}
    {%- set parse = modules.datetime.datetime.fromisoformat -%}
    {%- set start, end = cursor_window(cursor) -%}
    {%- set moment = '(' ~ cursor_moment(cursor) ~ ") at time zone 'UTC'" -%}
    {%- set first_steps -%}
        with steps as (
            select
                {{ moment if cursor.kind == 'number' else "date_trunc('hour', " ~ moment ~ ')' }} as step,
                count(*) as row_count
            from {{ postgres_table(source_relation) }} as source
            where {{ cursor_within(cursor, start, end) if end else cursor_column(cursor) ~ ' >= ' ~ microseconds(start) }}
            group by 1
        ),

        counted as (
            select
                step,
                row_count,
                sum(row_count) over (order by step) as rows_so_far
            from steps
        )

        select
            min(step) as step,
            max(step) as last_step,
            sum(row_count)::bigint as row_count
        from counted
        group by
            ceil(rows_so_far / {{ run_context().chunk_rows }}),
            row_count > {{ run_context().chunk_rows }},
            div(extract(year from step) * 12 + extract(month from step), 90)
    {%- endset -%}
    {%- set chunks = [] -%}
    {%- for chunk in run_query('select step, last_step, row_count from ' ~ on_source(source_relation, first_steps) ~ ' order by step') -%}
        {%- set after_last = end or parse(chunk.last_step | string) + modules.datetime.timedelta(microseconds=1) -%}
        {%- do chunks.append((
            start if loop.first and end else chunk.step,
            after_last if loop.last else loop.nextitem.step,
            bucket_count(chunk.row_count),
        )) -%}
    {%- endfor -%}
    {{ return(chunks) }}
{%- endmacro %}

{% macro utc_literal(utc) -%}
    timestamp '{{ utc }} UTC'
{%- endmacro %}

{% macro natural_key() -%}
    {{ return(quoted(config.meta_require('natural_key'))) }}
{%- endmacro %}

{% macro key_text() -%}
    json_format(cast(array[{% for name in natural_key() %}cast({{ name }} as varchar){{ ', ' if not loop.last }}{% endfor %}] as json))
{%- endmacro %}

{% macro bucket_count(row_count) -%}
    {{ return(1 + row_count // (2 * run_context().chunk_rows)) }}
{%- endmacro %}

{% macro in_bucket(bucket, buckets) -%}
    {{ 'mod(crc32(to_utf8(' ~ key_text() ~ ')), ' ~ buckets ~ ') = ' ~ bucket if buckets > 1 else 'true' }}
{%- endmacro %}

{#- The hash contains each column's name as a text literal, so it does not depend on how the engine quotes names. -#}
{% macro version_hash(bronze) -%}
    lower(to_hex(md5(to_utf8(json_format(cast(map_filter(
        map(
            array[{% for column in bronze %}{{ text_literal(column.name) }}{{ ', ' if not loop.last }}{% endfor %}],
            array[{% for column in bronze %}cast({{ column.quoted }} as varchar){{ ', ' if not loop.last }}{% endfor %}]
        ),
        (name, value) -> value is not null
    ) as json))))))
{%- endmacro %}

{% macro select_as_bronze(source_sql, bronze, others=[]) -%}
    select
        {% for column in bronze %}{{ column.value }} as {{ column.quoted }},
        {% endfor -%}
        {% for name in others %}{{ name }},
        {% endfor -%}
        cast(_changed_at as timestamp(6) with time zone) as _changed_at
    from (
        {{ source_sql }}
    ) as source
{%- endmacro %}

{#-
  The versions that the source shows and bronze lacks, and those that another version overtook in bronze. Source and
  bronze are each read once, because Trino plans and computes a CTE again for each use: planning joins of them took
  more than half of the statement's CPU time.
-#}
{% macro select_new_versions(source_sql, bronze, start, end, in_bucket) -%}
    {%- set key_names = config.meta_require('natural_key') -%}
    with source as (
        {{ select_as_bronze(source_sql, bronze) }}
    ),

    -- `row_number` over the hash removes duplicates like `distinct`, but keeps only the hashes in memory.
    numbered as (
        select
            *,
            row_number() over (partition by _hash) as _copy
        from (
            select
                *,
                {{ version_hash(bronze) }} as _hash
            from source
            where {{ in_bucket }}
        ) as hashed
    ),

    -- Versions with a batch are bronze's, those without one are the source's.
    versions as (
        select
            {% for column in bronze %}{{ column.quoted }},
            {% endfor -%}
            _changed_at,
            'upsert' as _op,
            _hash,
            cast(null as bigint) as _batch
        from numbered
        where _copy = 1
        union all
        select
            {% for column in bronze %}{{ column.quoted if column.name in key_names else 'null' }},
            {% endfor -%}
            _changed_at,
            _op,
            _hash,
            _batch
        from {{ this }}
        where _changed_at >= {{ start }} and _changed_at < {{ end }} and {{ in_bucket }}
    ),

    -- A delete that decides in bronze is compared as the text `delete`. No hash equals it, so it overtakes the source.
    compared as (
        select
            *,
            case
                when _batch is not null then null
                when not contains(array_agg(if(_batch is not null and _op = 'upsert', _hash, '')) over same_moment, _hash)
                    then 'new'
                when not contains(
                    array_agg(if(_batch is null, _hash, '')) over same_moment,
                    (max(if(_batch is not null, row(_batch, _op = 'delete', if(_op = 'upsert', _hash, _op)))) over same_moment)[3]
                ) then 'overtaken'
            end as _finding
        from versions
        window same_moment as (partition by {{ natural_key() | join(', ') }}, _changed_at)
    ),

    final as (
        select
            {% for column in bronze %}{{ column.quoted }},
            {% endfor -%}
            _changed_at,
            _op,
            _hash,
            current_timestamp(6) as _extracted_at,
            {{ batch() }} as _batch
        from compared
        where _finding is not null
    )

    select * from final
{%- endmacro %}
