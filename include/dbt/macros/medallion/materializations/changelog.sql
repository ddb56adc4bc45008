{#-
  Materialization `changelog`: the changelog of a source table. It merges the row versions that the source shows in
  the window into bronze, one commit a chunk of the window. A run of the kind `reconcile` compares whole tables
  instead (see `reconcile`). The model is a plain select from one source.

  A version is (natural key, updated_at, _op, _hash). The hash covers the key and updated_at, so that equal hashes
  mean equal versions even if a key is null. A version that bronze already has is not changed, unless another version
  overtook it in bronze while the source still shows this one: then it gets the stamp of the new batch.

  Configs: natural_key (list of columns), unique_key (of a version), partitioning.
-#}
{% materialization changelog, adapter='trino' %}
    {%- set source_relation = source(*model.sources[0]) -%}
    {%- set source_table = describe_source(source_relation) -%}
    {%- set columns = changelog_columns(source_table.columns) -%}
    {{ run_hooks(pre_hooks) }}
    {%- set bronze = bronze_columns(source_table.columns, ensure_table(columns)) -%}
    {% if not run_context().extract_from %}
        {{ log(this ~ ': nothing to extract', info=true) }}
    {% elif run_context().kind == 'reconcile' %}
        {% do reconcile(source_relation, source_table, bronze, columns) %}
    {% else %}
        {% for start, end, buckets in window_chunks(source_relation) %}
            {%- set in_window = "source.updated_at >= '" ~ start ~ "+00' and source.updated_at < '" ~ end ~ "+00'" -%}
            {%- set rows = read_source(source_relation, source_table, in_window) -%}
            {%- set start, end = utc_literal(start), utc_literal(end) -%}
            {% for bucket in range(buckets) %}
                {% call statement('main') %}
                    {{ merge_versions(
                        columns,
                        select_new_versions(rows, bronze, start, end, in_bucket(bucket, buckets)),
                        ['target.updated_at >= ' ~ start, 'target.updated_at < ' ~ end]
                    ) }}
                {% endcall %}
            {% endfor %}
            {{ log(this ~ ': ' ~ loop.index ~ '/' ~ loop.length ~ ' captured from ' ~ start ~ ' to ' ~ end ~ (' in %d buckets' % buckets if buckets > 1 else ''), info=true) }}
        {% else %}
            {{ log(this ~ ': the source has no row in the window', info=true) }}
        {% endfor %}
    {% endif %}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

{% macro merge_versions(columns, versions, target_bounds=[]) -%}
    {{ merge_into(columns, versions, target_bounds) }}
    when matched then update set _batch = incoming._batch
    when not matched then {{ insert_row(columns) }}
{%- endmacro %}

{#-
  The window is cut at full hours into chunks of about `chunk_rows` rows. A chunk spans fewer than 100 months, because
  that is the number of partitions that a writer of Trino may open. A single hour may hold any number of rows, even of
  one moment, so its keys are divided into buckets.
-#}
{% macro window_chunks(source_relation) -%}
    {%- set parse = modules.datetime.datetime.fromisoformat -%}
    {%- set start, end = parse(run_context().extract_from), parse(run_context().extract_to) -%}
    {%- set first_hours -%}
        with hours as (
            select
                date_trunc('hour', updated_at at time zone 'UTC') as hour,
                count(*) as row_count,
                sum(count(*)) over (order by date_trunc('hour', updated_at at time zone 'UTC')) as rows_so_far
            from {{ postgres_table(source_relation) }}
            where updated_at >= '{{ start }}+00' and updated_at < '{{ end }}+00'
            group by 1
        )

        select min(hour) as hour, sum(row_count)::bigint as row_count
        from hours
        group by
            ceil(rows_so_far / {{ run_context().chunk_rows }}),
            div(extract(year from hour) * 12 + extract(month from hour), 90)
    {%- endset -%}
    {%- set chunks = [] -%}
    {%- for chunk in run_query('select hour, row_count from ' ~ on_source(source_relation, first_hours) ~ ' order by hour') -%}
        {%- do chunks.append((
            start if loop.first else chunk.hour,
            end if loop.last else loop.nextitem.hour,
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

{% macro select_as_bronze(source_sql, bronze) -%}
    select
        {% for column in bronze %}{{ column.value }} as {{ column.quoted }}{{ ',\n        ' if not loop.last }}{% endfor %}
    from (
        {{ source_sql }}
    ) as source
{%- endmacro %}

{% macro select_new_versions(source_sql, bronze, start, end, in_bucket) -%}
    with source as (
        {{ select_as_bronze(source_sql, bronze) }}
    ),

    source_rows as (
        select
            *,
            {{ key_text() }} as _key,
            'upsert' as _op,
            {{ version_hash(bronze) }} as _hash
        from source
        where {{ in_bucket }}
    ),

    -- `row_number` over the hash removes duplicates like `distinct`. Without an order Trino keeps only the hashes in
    -- memory; for `distinct` it would keep all columns.
    numbered as (
        select
            *,
            row_number() over (partition by _hash) as _copy
        from source_rows
    ),

    captured as (
        select * from numbered where _copy = 1
    ),

    present as (
        select
            {{ key_text() }} as _key,
            updated_at,
            _op,
            _hash,
            row_number() over (
                partition by {{ natural_key() | join(', ') }}, updated_at
                order by _batch desc, _op, _hash desc
            ) as recency
        from {{ this }}
        where updated_at >= {{ start }} and updated_at < {{ end }} and {{ in_bucket }}
    ),

    -- Keys whose deciding version in bronze is not the one that the source shows now.
    overtaken as (
        select present._key, present.updated_at
        from present
        left join source_rows
            on present.updated_at = source_rows.updated_at
            and present._op = source_rows._op
            and present._hash = source_rows._hash
        where present.recency = 1 and source_rows._hash is null
    ),

    final as (
        select
            {% for column in bronze %}captured.{{ column.quoted }},
            {% endfor -%}
            captured._op,
            captured._hash,
            current_timestamp(6) as _extracted_at,
            {{ batch() }} as _batch
        from captured
        left join present
            on captured.updated_at = present.updated_at
            and captured._op = present._op
            and captured._hash = present._hash
        left join overtaken
            on captured._key = overtaken._key
            and captured.updated_at = overtaken.updated_at
        where present._hash is null or overtaken._key is not null
    )

    select * from final
{%- endmacro %}
