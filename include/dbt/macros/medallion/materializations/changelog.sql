{#-
  Materialization `changelog`: the changelog of a source table. Merges the row versions that the source shows in
  the window into bronze, one commit a chunk of the window; a run of the kind `reconcile` compares the tables whole
  instead (see `reconcile`). The model is a plain select from the source.

  A version is (natural key, updated_at, _op, _hash); the hash covers the key and updated_at, so that equal
  hashes mean equal versions even where a key is null. A version that is there already changes nothing, unless
  another one overtook it in bronze while the source shows this one: then it is stamped with the new batch.

  Configs: natural_key (list of columns), unique_key (of a version), partitioning.
-#}
{% materialization changelog, adapter='trino' %}
    {%- set source_relation = source(*model.sources[0]) -%}
    {%- set source_columns = readable_columns(source_relation) -%}
    {%- set columns = changelog_columns(source_columns) -%}
    {% do check_modelled_columns(columns) %}
    {{ run_hooks(pre_hooks) }}
    {%- set held = bronze_columns(source_columns, ensure_table(columns)) -%}
    {% if not run_context().extract_from %}
        {{ log(this ~ ': nothing to extract', info=true) }}
    {% elif run_context().kind == 'reconcile' %}
        {% do reconcile(source_relation, held, columns) %}
    {% else %}
        {% for start, end, buckets in window_chunks(source_relation) %}
            {% for bucket in range(buckets) %}
                {% call statement('main') %}
                    {{ merge_versions(columns, select_new_versions(sql, held, start, end, in_bucket(bucket, buckets)), ["target.updated_at >= " ~ start, "target.updated_at < " ~ end]) }}
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

{#- Adds versions to the changelog; those that are there are stamped with the new batch, and nothing else. -#}
{% macro merge_versions(columns, versions, target_bounds=[]) -%}
    {{ merge_into(columns, versions, target_bounds) }}
    when matched then update set _batch = incoming._batch
    when not matched then {{ insert_row(columns) }}
{%- endmacro %}

{#-
  The window as half-open pairs of UTC literals; none where the source has no row in it. It is cut at full hours, so
  that each chunk holds about `chunk_rows` rows and fewer months than Trino opens partitions for a writer (100). With
  each comes into how many buckets its keys are to be divided: an hour may hold any number of rows, all of one utc_literal.
-#}
{% macro window_chunks(source_relation) -%}
    {%- set parse = modules.datetime.datetime.fromisoformat -%}
    {%- set start, end = parse(run_context().extract_from), parse(run_context().extract_to) -%}
    {%- set first_hours -%}
        select hour, row_count from table({{ source_relation.database }}.system.query(query => '
            with hours as (
                select
                    date_trunc(''hour'', updated_at at time zone ''UTC'') as hour,
                    count(*) as row_count,
                    sum(count(*)) over (order by date_trunc(''hour'', updated_at at time zone ''UTC'')) as rows_so_far
                from {{ source_relation.schema }}.{{ source_relation.identifier }}
                where updated_at >= ''{{ start }}+00'' and updated_at < ''{{ end }}+00''
                group by 1
            )

            select min(hour) as hour, sum(row_count)::bigint as row_count
            from hours
            group by
                ceil(rows_so_far / {{ run_context().chunk_rows }}),
                div(extract(year from hour) * 12 + extract(month from hour), 90)
        ')) order by hour
    {%- endset -%}
    {%- set chunks = [] -%}
    {%- for chunk in run_query(first_hours) -%}
        {%- do chunks.append((
            utc_literal(start if loop.first else chunk.hour),
            utc_literal(end if loop.last else loop.nextitem.hour),
            bucket_count(chunk.row_count),
        )) -%}
    {%- endfor -%}
    {{ return(chunks) }}
{%- endmacro %}

{% macro utc_literal(utc) -%}
    timestamp '{{ utc }} UTC'
{%- endmacro %}

{#- The natural key as a JSON array, which is never null. -#}
{% macro key_text() -%}
    json_format(cast(array[{% for name in config.meta_require('natural_key') %}cast({{ name }} as varchar){{ ', ' if not loop.last }}{% endfor %}] as json))
{%- endmacro %}

{#- Into how many buckets so many rows are divided, which fit into memory one by one. -#}
{% macro bucket_count(row_count) -%}
    {{ return(1 + row_count // (2 * run_context().chunk_rows)) }}
{%- endmacro %}

{#- The condition that a row's natural key is in one of so many buckets. -#}
{% macro in_bucket(bucket, buckets) -%}
    {{ 'mod(crc32(to_utf8(' ~ key_text() ~ ')), ' ~ buckets ~ ') = ' ~ bucket if buckets > 1 else 'true' }}
{%- endmacro %}

{#- The MD5, in hex, of a JSON object of the columns that are not null, by name. -#}
{% macro version_hash(held) -%}
    lower(to_hex(md5(to_utf8(json_format(cast(map_filter(
        map(
            array[{% for column in held %}'{{ column.name | replace("'", "''") }}'{{ ', ' if not loop.last }}{% endfor %}],
            array[{% for column in held %}cast({{ column.quoted }} as varchar){{ ', ' if not loop.last }}{% endfor %}]
        ),
        (name, value) -> value is not null
    ) as json))))))
{%- endmacro %}

{#- The source's rows in bronze's types. -#}
{% macro select_as_bronze(source_sql, held, condition='true') -%}
    select
        {% for column in held %}{{ column.value }} as {{ column.quoted }}{{ ',\n        ' if not loop.last }}{% endfor %}
    from (
        {{ source_sql }}
    ) as source
    where {{ condition }}
{%- endmacro %}

{% macro select_new_versions(source_sql, held, start, end, in_bucket) -%}
    with source as (
        {{ select_as_bronze(source_sql, held, 'updated_at >= ' ~ start ~ ' and updated_at < ' ~ end) }}
    ),

    shown as (
        select
            *,
            {{ key_text() }} as _key,
            'upsert' as _op,
            {{ version_hash(held) }} as _hash
        from source
        where {{ in_bucket }}
    ),

    -- By the hash alone and in no order: Trino keeps hashes in memory then, where `distinct` would keep all columns.
    numbered as (
        select
            *,
            row_number() over (partition by _hash) as _copy
        from shown
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
                partition by {{ config.meta_require('natural_key') | join(', ') }}, updated_at
                order by _batch desc, _op, _hash desc
            ) as recency
        from {{ this }}
        where updated_at >= {{ start }} and updated_at < {{ end }} and {{ in_bucket }}
    ),

    -- Keys whose deciding version is not what the source shows now.
    overtaken as (
        select present._key, present.updated_at
        from present
        left join shown
            on present.updated_at = shown.updated_at
            and present._op = shown._op
            and present._hash = shown._hash
        where present.recency = 1 and shown._hash is null
    ),

    final as (
        select
            {% for column in held %}captured.{{ column.quoted }},
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
