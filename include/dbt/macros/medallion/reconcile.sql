{#-
  How the materialization `changelog` reconciles a table. It compares the winner of each key at the source with the
  key's latest version in bronze, and leaves the differences in the table of the same name in the schema `reconciled`,
  by their `_finding`:

  missed: a version that no window saw, and none will see. It is captured, or stamped as the deciding one if bronze has
  it already;
  deleted: a key that is gone at the source. It is ended by a delete with the `updated_at` of the version that it ends;
  went_back: the source shows an older version than bronze. It is only reported.

  Bronze is pinned before the source is read: a key that bronze has and the source lacks was deleted, whatever happens
  at the source meanwhile. The source is read once, into a table of the lake. All later statements read only the lake,
  in buckets that fit into memory. Each bucket is one commit to bronze, and the next run makes the commits that a
  killed run did not. If more than a share of the rows is gone, nothing is committed.
-#}
{% macro reconcile(source_relation, source_table, bronze, columns) -%}
    {% do check_times(source_relation) %}
    {% if source_table.policies %}
        {% do exceptions.warn(
            table_name(source_relation) ~ ': row policies may hide rows from the reader (' ~ source_table.policies
            ~ '). No row is taken for deleted.'
        ) %}
    {% endif %}
    {%- set findings = this.incorporate(path={'schema': 'reconciled'}) -%}
    {%- set source_copy = this.incorporate(path={'schema': 'reconciled', 'identifier': this.identifier ~ '_source'}) -%}
    {%- set pinned = this ~ ' for version as of ' ~ run_query(
        'select snapshot_id from ' ~ this.incorporate(path={'identifier': this.identifier ~ '$refs'}) ~ " where name = 'main'"
    )[0].snapshot_id -%}
    {% do adapter.create_schema(findings) %}
    {% for relation in [findings, source_copy] %}
        {% call statement('drop') %}drop table if exists {{ relation }}{% endcall %}
    {% endfor %}
    {% call statement('read') %}
        create table {{ source_copy }} as
        with source as (
            {{ select_as_bronze(read_source(source_relation, source_table), bronze) }}
        ),

        final as (
            select *, {{ version_hash(bronze) }} as _hash
            from source
        )

        select * from final
    {% endcall %}

    {%- set rows = run_query(
        'select (select count(*) from ' ~ source_copy ~ ') as source_rows, (select count(*) from ' ~ this ~ ') as bronze_rows'
    )[0] -%}
    {%- set buckets = bucket_count(rows.source_rows + rows.bronze_rows) -%}
    {% for bucket in range(buckets) %}
        {% call statement('compare') %}
            {{ ('insert into ' ~ findings) if bucket else ('create table ' ~ findings ~ ' as') }}
            {{ select_differences(bronze, source_copy, pinned, in_bucket(bucket, buckets), not source_table.policies) }}
        {% endcall %}
    {% endfor %}
    {% call statement('drop') %}drop table {{ source_copy }}{% endcall %}

    {%- set counts = run_query(
        "select count_if(_finding = 'missed') as missed, count_if(_finding = 'deleted') as deleted,"
        ~ " count_if(_finding = 'went_back') as went_back from " ~ findings
    )[0] -%}
    {%- set figures = counts.missed ~ ' missed, ' ~ counts.deleted ~ ' deleted, ' ~ counts.went_back ~ ' went back' -%}
    {{ log(this ~ ': ' ~ figures ~ ': see ' ~ findings, info=true) }}
    {% call statement('record') %}
        insert into {{ quote_identifier(run_context().gold_catalog) }}.audit.reconciliations (
            batch, table_name, compared_at, missed, deleted, went_back
        )
        values (
            {{ batch() }}, {{ text_literal(this.identifier) }}, current_timestamp,
            {{ counts.missed }}, {{ counts.deleted }}, {{ counts.went_back }}
        )
    {% endcall %}
    {% do check_deleted_share(counts.deleted, counts.deleted + rows.source_rows, findings) %}
    {% if counts.missed or counts.deleted %}
        {%- set versions -%}
            select {{ quoted(columns | map(attribute='name')) | join(', ') }}
            from {{ findings }}
            where _finding <> 'went_back'
        {%- endset -%}
        {%- set buckets = bucket_count(counts.missed + counts.deleted) -%}
        {% for bucket in range(buckets) %}
            {% call statement('main') %}{{ merge_versions(columns, versions ~ ' and ' ~ in_bucket(bucket, buckets)) }}{% endcall %}
        {% endfor %}
    {% endif %}
{%- endmacro %}

{#- Trino cannot read other years, and no window reaches them. -#}
{% macro check_times(source_relation) -%}
    {%- set unreadable = "not updated_at between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00'" -%}
    {%- set table = postgres_table(source_relation) -%}
    {%- set counts = run_query('select row_count from ' ~ on_source(
        source_relation, 'select count(*) as row_count from ' ~ table ~ ' where ' ~ unreadable
    ))[0] -%}
    {% if counts.row_count %}
        {{ exceptions.raise_compiler_error(
            'The source has ' ~ counts.row_count ~ ' rows in ' ~ source_relation.schema ~ '.' ~ source_relation.identifier
            ~ ' whose updated_at is not within the years 1 to 9999. No window reaches them: give them a time by update '
            ~ table ~ ' set updated_at = now() where ' ~ unreadable ~ '. Nothing of this table was reconciled.'
        ) }}
    {% endif %}
{%- endmacro %}

{#- A compiler error is not retried: waiting brings no row back. -#}
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

{% macro select_differences(bronze, source_rows, bronze_rows, in_bucket, finds_deletes) -%}
    {%- set key_names = config.meta_require('natural_key') -%}
    {%- set keys = natural_key() -%}
    {%- set others = bronze | rejectattr('name', 'in', key_names) | list -%}
    -- The source's versions have no batch.
    with versions as (
        select {{ bronze | map(attribute='quoted') | join(', ') }}, false as _is_delete, _hash, cast(null as bigint) as _batch
        from {{ source_rows }}
        where {{ in_bucket }}
        union all
        select
            {% for column in bronze %}{{ column.quoted if column.name in key_names or column.name == 'updated_at' else 'null' }},
            {% endfor -%}
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
                    row({% for column in others %}{{ column.quoted }}, {% endfor %}_hash)
                    as row({% for column in others %}{{ column.quoted }} {{ column.data_type }}, {% endfor %}_hash varchar)
                ),
                row(updated_at, _hash)
            ) filter (where _batch is null) as _source_version,
            max(cast(
                row(updated_at, _batch, _is_delete, _hash)
                as row(updated_at timestamp(6) with time zone, _batch bigint, _is_delete boolean, _hash varchar)
            )) filter (where _batch is not null) as _bronze_version
        from versions
        group by {{ keys | join(', ') }}
    ),

    compared as (
        select
            {{ keys | join(', ') }},
            {% for column in others if column.name != 'updated_at' %}_source_version.{{ column.quoted }} as {{ column.quoted }},
            {% endfor -%}
            coalesce(_source_version.updated_at, _bronze_version.updated_at) as updated_at,
            _source_version._hash as _source_hash,
            _bronze_version.updated_at as _latest_updated_at,
            case
                when _source_version is null then if({{ finds_deletes }} and not _bronze_version._is_delete, 'deleted')
                when _source_version.updated_at < _bronze_version.updated_at then 'went_back'
                when
                    _source_version.updated_at = _bronze_version.updated_at
                    and _source_version._hash = _bronze_version._hash
                    and not _bronze_version._is_delete
                    then null
                -- A version after `extract_to` is no finding, because the next window captures it.
                when _source_version.updated_at >= {{ utc_literal(run_context().extract_from) }}
                    and _source_version.updated_at < {{ utc_literal(run_context().extract_to) }} then 'missed'
            end as _finding
        from winners
    ),

    final as (
        select
            {% for column in bronze %}{{ column.quoted }},
            {% endfor -%}
            if(_finding = 'deleted', 'delete', 'upsert') as _op,
            -- The hash of a delete covers only key and `updated_at`: found again, it is the same version.
            if(_finding = 'deleted', {{ version_hash(bronze) }}, _source_hash) as _hash,
            current_timestamp(6) as _extracted_at,
            {{ batch() }} as _batch,
            _latest_updated_at,
            _finding
        from compared
        where _finding is not null
    )

    select * from final
{%- endmacro %}
