{#-
  How the materialization `changelog` compares a whole table: in the daily reconciliation, and in each run if the table
  has no cursor. It compares the latest row of each key at the source with the key's latest version in bronze, and
  writes the differences into the table of the same name in the schema `reconciled`, by their `_finding`:

  missed: a version that no window saw, and none will see;
  unmoved: a row that differs from bronze, though its cursor did not change, or the table has none. If a table got a
  column with a default, or lost a column, each of its rows is such a finding;
  went_back: a row whose cursor is older than bronze's version;
  null_cursor, ahead: a row that no window sees, because its cursor is null, or later than the source's clock;
  deleted: a key that is gone at the source. Bronze gets a delete for it.

  Each finding is captured once: a row whose hash equals that of bronze's latest version is no finding. The captured
  version must become the latest in bronze. So its `_changed_at` is the later one of the source's and bronze's, and if
  they are equal, its higher batch decides. A delete gets the time of the version that it ends, and a higher batch.

  Bronze is pinned to a snapshot before the source is read. So a key that bronze has and the source lacks was deleted,
  whatever changes at the source in the meantime. The source is read once, into a table of the lake. All later
  statements read only the lake, in buckets that fit into memory. Each bucket is one commit to bronze, and the next run
  makes the commits that a killed run did not. If a larger share of the rows is gone than allowed, nothing is committed.
-#}
{% macro reconcile(source_relation, source_table, cursor, bronze, columns) -%}
    {% if source_table.policies %}
        {% do exceptions.warn(
            table_name(source_relation) ~ ': row policies may hide rows from the reader (' ~ source_table.policies
            ~ '). No row is taken for deleted.'
        ) %}
    {% endif %}
    {%- set findings = this.incorporate(path={'schema': 'reconciled'}) -%}
    {#- The copy is in a schema of its own, because a name with a suffix might be that of another table's findings. -#}
    {%- set source_copy = this.incorporate(path={'schema': 'reconciled_source'}) -%}
    {%- set covered_to = covered_to(cursor) -%}
    {%- set pinned = pinned_bronze() -%}
    {% for relation in [findings, source_copy] %}
        {% do adapter.create_schema(relation) %}
        {% call statement('drop') %}drop table if exists {{ relation }}{% endcall %}
    {% endfor %}
    {% call statement('read') %}
        create table {{ source_copy }} as
        with source as (
            {{ select_as_bronze(read_source(source_relation, source_table, compared_moment(cursor)), bronze, ['_reading']) }}
        ),

        final as (
            select *, {{ version_hash(bronze) }} as _hash
            from source
        )

        select * from final
    {% endcall %}

    {%- set rows = run_query(
        "select count(*) as source_rows, count_if(_reading = 'null_cursor') as null_cursor, count_if(_reading = 'ahead') as ahead,"
        ~ ' (select count(*) from ' ~ this ~ ') as bronze_rows from ' ~ source_copy
    )[0] -%}
    {%- set buckets = bucket_count(rows.source_rows + rows.bronze_rows) -%}
    {% for bucket in range(buckets) %}
        {% call statement('compare') %}
            {{ ('insert into ' ~ findings) if bucket else ('create table ' ~ findings ~ ' as') }}
            {{ select_differences(
                cursor, covered_to, bronze, source_copy, pinned, in_bucket(bucket, buckets), not source_table.policies
            ) }}
        {% endcall %}
    {% endfor %}
    {% call statement('drop') %}drop table {{ source_copy }}{% endcall %}

    {%- set counts = run_query(
        "select count_if(_finding = 'missed') as missed, count_if(_finding = 'deleted') as deleted,"
        ~ " count_if(_finding = 'went_back') as went_back, count_if(_finding = 'unmoved') as unmoved,"
        ~ ' count_if(_is_ambiguous) as ambiguous, count(_finding) as captured from ' ~ findings
    )[0] -%}
    {{ log(
        this ~ ': ' ~ counts.missed ~ ' missed, ' ~ counts.deleted ~ ' deleted, ' ~ counts.went_back ~ ' went back, '
        ~ counts.unmoved ~ ' unmoved: see ' ~ findings, info=true
    ) }}
    {% if rows.null_cursor or rows.ahead %}
        {% do exceptions.warn(
            table_name(source_relation) ~ ': the cursor ' ~ cursor.name ~ ' of ' ~ rows.null_cursor ~ ' rows is null, and of ' ~ rows.ahead
            ~ ' ahead of the clock. Only a comparison captures their changes.'
        ) %}
    {% endif %}
    {% if counts.ambiguous %}
        {% do exceptions.warn(
            table_name(source_relation) ~ ': ' ~ counts.ambiguous ~ ' values of the natural key (' ~ config.meta_require('natural_key') | join(', ')
            ~ ') are shared by rows that differ. The latest row of each counts, the others are not in silver.'
        ) %}
    {% endif %}
    {% if run_context().kind == 'reconcile' %}
        {% call statement('record') %}
            insert into {{ quote_identifier(run_context().gold_catalog) }}.audit.reconciliations (
                batch, table_name, compared_at, missed, deleted, went_back, unmoved, null_cursor, ahead, ambiguous
            )
            values (
                {{ batch() }}, {{ text_literal(this.identifier) }}, current_timestamp,
                {{ counts.missed }}, {{ counts.deleted }}, {{ counts.went_back }}, {{ counts.unmoved }},
                {{ rows.null_cursor }}, {{ rows.ahead }}, {{ counts.ambiguous }}
            )
        {% endcall %}
    {% endif %}
    {% do check_deleted_share(counts.deleted, counts.deleted + rows.source_rows, findings) %}
    {% if counts.captured %}
        {%- set versions -%}
            select {{ quoted(columns | map(attribute='name')) | join(', ') }}
            from {{ findings }}
            where _finding is not null
        {%- endset -%}
        {%- set buckets = bucket_count(counts.captured) -%}
        {% for bucket in range(buckets) %}
            {% call statement('main') %}{{ merge_versions(columns, versions ~ ' and ' ~ in_bucket(bucket, buckets)) }}{% endcall %}
        {% endfor %}
    {% endif %}
{%- endmacro %}

{#- The changelog as of its current snapshot, which later writes do not change. -#}
{% macro pinned_bronze() -%}
    {%- set snapshots = run_query(
        'select snapshot_id from ' ~ this.incorporate(path={'identifier': this.identifier ~ '$refs'}) ~ " where name = 'main'"
    ) -%}
    {{ return(this ~ ' for version as of ' ~ snapshots[0].snapshot_id) }}
{%- endmacro %}

{#- A compiler error is not retried, which is right here: a retry would find the same rows gone. -#}
{% macro check_deleted_share(deleted, known, findings) -%}
    {%- set limit = run_context().max_deleted_share -%}
    {% if deleted >= run_context().max_deleted_from and deleted > limit * known %}
        {{ exceptions.raise_compiler_error(
            this.identifier ~ ': ' ~ deleted ~ ' of ' ~ known ~ ' rows are gone at the source, more than ' ~ '%g' % (limit * 100)
            ~ '% (MEDALLION_MAX_DELETED_SHARE). If the source was being reloaded, clear this task. If they are gone for'
            ~ ' good, trigger medallion_reconcile with allow_deletes, which accepts any share once. Nothing was written to'
            ~ ' bronze; ' ~ findings ~ ' has their keys.'
        ) }}
    {% endif %}
{%- endmacro %}

{#- The differences between source and bronze in a bucket of keys. A row without a finding only reports that several rows share its key. -#}
{% macro select_differences(cursor, covered_to, bronze, source_rows, bronze_rows, in_bucket, finds_deletes) -%}
    {%- set key_names = config.meta_require('natural_key') -%}
    {%- set keys = natural_key() -%}
    {%- set others = bronze | rejectattr('name', 'in', key_names) | list -%}
    -- Versions with a batch are bronze's, those without one are the source's.
    with versions as (
        select
            {% for column in bronze %}{{ column.quoted }},
            {% endfor -%}
            _changed_at,
            _reading,
            false as _is_delete,
            _hash,
            cast(null as bigint) as _batch
        from {{ source_rows }}
        where {{ in_bucket }}
        union all
        select
            {% for column in bronze %}{{ column.quoted if column.name in key_names else 'null' }},
            {% endfor -%}
            _changed_at,
            null,
            _op = 'delete',
            _hash,
            _batch
        from {{ bronze_rows }}
        where {{ in_bucket }}
    ),

    winners as (
        select
            {{ keys | join(', ') }},
            max_by(
                cast(
                    row({% for column in others %}{{ column.quoted }}, {% endfor %}_changed_at, _reading, _hash)
                    as row(
                        {% for column in others %}{{ column.quoted }} {{ column.data_type }}, {% endfor -%}
                        _changed_at timestamp(6) with time zone, _reading varchar, _hash varchar
                    )
                ),
                row(_changed_at, _hash)
            ) filter (where _batch is null) as _source_version,
            min(_hash) filter (where _batch is null) <> max(_hash) filter (where _batch is null) as _is_ambiguous,
            max(cast(
                row(_changed_at, _batch, _is_delete, _hash)
                as row(_changed_at timestamp(6) with time zone, _batch bigint, _is_delete boolean, _hash varchar)
            )) filter (where _batch is not null) as _bronze_version
        from versions
        group by {{ keys | join(', ') }}
    ),

    compared as (
        select
            {{ keys | join(', ') }},
            {% for column in others %}_source_version.{{ column.quoted }} as {{ column.quoted }},
            {% endfor -%}
            greatest(
                coalesce(_source_version._changed_at, _bronze_version._changed_at),
                coalesce(_bronze_version._changed_at, _source_version._changed_at)
            ) as _changed_at,
            _source_version._hash as _source_hash,
            _bronze_version._changed_at as _latest_changed_at,
            coalesce(_is_ambiguous, false) as _is_ambiguous,
            case
                when _source_version is null then if({{ finds_deletes }} and not _bronze_version._is_delete, 'deleted')
                when _source_version._hash = _bronze_version._hash and not _bronze_version._is_delete then null
                when _source_version._reading in ('null_cursor', 'ahead') then _source_version._reading
                when _source_version._reading = 'none' then 'unmoved'
                when _source_version._changed_at < _bronze_version._changed_at then 'went_back'
                {%- if cursor.capture == 'window' %}
                -- The next window captures a row that no window has read yet.
                when not ({{ is_covered(cursor, covered_to) }}) then null
                {%- endif %}
                when _source_version._changed_at = _bronze_version._changed_at then 'unmoved'
                else 'missed'
            end as _finding
        from winners
    ),

    final as (
        select
            {% for column in bronze %}{{ column.quoted }},
            {% endfor -%}
            _changed_at,
            if(_finding = 'deleted', 'delete', 'upsert') as _op,
            -- The hash of a delete covers only the key, so that a delete found again is the same version.
            if(_finding = 'deleted', {{ version_hash(bronze) }}, _source_hash) as _hash,
            current_timestamp(6) as _extracted_at,
            {{ batch() }} as _batch,
            _latest_changed_at,
            _is_ambiguous,
            _finding
        from compared
        where _finding is not null or _is_ambiguous
    )

    select * from final
{%- endmacro %}

{#- Predicate: windows have read the moment of the source's version, and will not read it again. -#}
{% macro is_covered(cursor, covered_to) -%}
    {%- if not covered_to -%}
        false
    {%- elif cursor.kind == 'number' -%}
        _source_version._changed_at < {{ utc_literal(covered_to) }}
    {%- else -%}
        _source_version._changed_at >= {{ utc_literal(run_context().extract_from) }}
        and _source_version._changed_at < {{ utc_literal(covered_to) }}
    {%- endif -%}
{%- endmacro %}
