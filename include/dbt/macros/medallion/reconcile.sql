{#-
  How the materialization `changelog` reconciles a table: compares each key's winner at the source with bronze's
  latest version of the key, and leaves what differs in `lake.reconciled.<table>`, by its `_finding`:

  missed: a version that no window saw, and none will: captured, or stamped as the deciding one if it is there;
  deleted: a key that is gone at the source: ended by a delete with the `updated_at` of the version that it ends;
  went_back: the source shows an older version than bronze: reported, nothing else.

  Bronze is pinned before the source is read: what it has and the source lacks was deleted, whatever the source does
  meanwhile. The source is read once, into a table of the lake; the rest, in buckets that fit into memory, asks only
  the lake. One commit a bucket from there to bronze, of which the next run makes those that a killed one did not; none
  above a share of deletes.
-#}
{% macro reconcile(source_relation, held, columns) -%}
    {% do check_times(source_relation) %}
    {%- set findings = this.incorporate(path={'schema': 'reconciled'}) -%}
    {%- set shown = this.incorporate(path={'schema': 'reconciled', 'identifier': this.identifier ~ '_source'}) -%}
    {%- set pinned = this ~ ' for version as of ' ~ run_query(
        'select snapshot_id from ' ~ this.incorporate(path={'identifier': this.identifier ~ '$refs'}) ~ " where name = 'main'"
    )[0].snapshot_id -%}
    {% do adapter.create_schema(findings) %}
    {% for relation in [findings, shown] %}
        {% call statement('drop') %}drop table if exists {{ relation }}{% endcall %}
    {% endfor %}
    {% call statement('read') %}
        create table {{ shown }} as
        with source as (
            {{ select_as_bronze(sql, held) }}
        ),

        final as (
            select *, {{ version_hash(held) }} as _hash
            from source
        )

        select * from final
    {% endcall %}

    {%- set rows = run_query(
        'select (select count(*) from ' ~ shown ~ ') as shown, (select count(*) from ' ~ this ~ ') as known'
    )[0] -%}
    {%- set buckets = bucket_count(rows.shown + rows.known) -%}
    {% for bucket in range(buckets) %}
        {% call statement('compare') %}
            {{ ('insert into ' ~ findings) if bucket else ('create table ' ~ findings ~ ' as') }}
            {{ select_differences(held, shown, pinned, in_bucket(bucket, buckets)) }}
        {% endcall %}
    {% endfor %}
    {% call statement('drop') %}drop table {{ shown }}{% endcall %}

    {%- set found = run_query(
        "select count_if(_finding = 'missed') as missed, count_if(_finding = 'deleted') as deleted,"
        ~ " count_if(_finding = 'went_back') as went_back from " ~ findings
    )[0] -%}
    {%- set figures = found.missed ~ ' missed, ' ~ found.deleted ~ ' deleted, ' ~ found.went_back ~ ' went back' -%}
    {{ log(this ~ ': ' ~ figures ~ ': see ' ~ findings, info=true) }}
    {% call statement('record') %}
        insert into postgres_gold.audit.reconciliations
        values ({{ batch() }}, '{{ this.identifier }}', current_timestamp, {{ found.missed }}, {{ found.deleted }}, {{ found.went_back }})
    {% endcall %}
    {% do check_deleted_share(found.deleted, found.deleted + rows.shown, findings) %}
    {% if found.missed or found.deleted %}
        {%- set versions -%}
            select {% for column in columns %}{{ adapter.quote(column.name) }}{{ ', ' if not loop.last }}{% endfor %}
            from {{ findings }}
            where _finding <> 'went_back'
        {%- endset -%}
        {%- set buckets = bucket_count(found.missed + found.deleted) -%}
        {% for bucket in range(buckets) %}
            {% call statement('main') %}{{ merge_versions(columns, versions ~ ' and ' ~ in_bucket(bucket, buckets)) }}{% endcall %}
        {% endfor %}
    {% endif %}
{%- endmacro %}

{#- Raises a compiler error where a row has a time that no window reaches and Trino can't read. -#}
{% macro check_times(source_relation) -%}
    {%- set unreadable = "not updated_at between '0001-01-01 00:00:00+00' and '9999-12-31 23:59:59.999999+00'" -%}
    {%- set found = run_query(
        'select row_count from table(' ~ source_relation.database ~ ".system.query(query => '"
        ~ ('select count(*) as row_count from ' ~ source_relation.schema ~ '.' ~ source_relation.identifier
        ~ ' where ' ~ unreadable) | replace("'", "''") ~ "'))"
    )[0] -%}
    {% if found.row_count %}
        {{ exceptions.raise_compiler_error(
            'The source has ' ~ found.row_count ~ ' rows in ' ~ source_relation.schema ~ '.' ~ source_relation.identifier
            ~ ' whose updated_at is not within the years 1 to 9999, which no window reaches. Nothing was reconciled of'
            ~ ' this table. Give them a time: update … set updated_at = now() where ' ~ unreadable
        ) }}
    {% endif %}
{%- endmacro %}

{#- Raises a compiler error, which no retry mends, where too many rows are gone at the source. -#}
{% macro check_deleted_share(deleted, known, findings) -%}
    {%- set limit = run_context().max_deleted_share -%}
    {% if deleted >= run_context().max_deleted_from and deleted > limit * known %}
        {{ exceptions.raise_compiler_error(
            this.identifier ~ ': ' ~ deleted ~ ' of ' ~ known ~ ' rows are gone at the source, more than ' ~ '%g' % (limit * 100)
            ~ '% (MEDALLION_MAX_DELETED_SHARE). Nothing was written to bronze; ' ~ findings ~ ' has their keys.'
            ~ ' Was the source being reloaded? Then clear this task. Are they gone for good?'
            ~ ' Then trigger medallion_reconcile with allow_deletes, which lets them pass once.'
        ) }}
    {% endif %}
{%- endmacro %}

{#- What differs between the tables `shown` and `known` for the keys that `in_bucket` picks, in bronze's columns. -#}
{% macro select_differences(held, shown, known, in_bucket) -%}
    {%- set keys = config.meta_require('natural_key') -%}
    {%- set others = held | rejectattr('name', 'in', keys) | list -%}
    -- The source's versions have no batch.
    with versions as (
        select {{ held | map(attribute='quoted') | join(', ') }}, false as _is_delete, _hash, cast(null as bigint) as _batch
        from {{ shown }}
        where {{ in_bucket }}
        union all
        select
            {% for column in held %}{{ column.quoted if column.name in keys or column.name == 'updated_at' else 'null' }},
            {% endfor -%}
            _op = 'delete',
            _hash,
            _batch
        from {{ known }}
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
            ) filter (where _batch is null) as shown,
            max(cast(
                row(updated_at, _batch, _is_delete, _hash)
                as row(updated_at timestamp(6) with time zone, _batch bigint, _is_delete boolean, _hash varchar)
            )) filter (where _batch is not null) as latest
        from versions
        group by {{ keys | join(', ') }}
    ),

    compared as (
        select
            {{ keys | join(', ') }},
            {% for column in others if column.name != 'updated_at' %}shown.{{ column.quoted }} as {{ column.quoted }},
            {% endfor -%}
            coalesce(shown.updated_at, latest.updated_at) as updated_at,
            shown._hash as _shown_hash,
            latest.updated_at as _latest_updated_at,
            case
                when shown is null then if(not latest._is_delete, 'deleted')
                when shown.updated_at < latest.updated_at then 'went_back'
                when shown.updated_at = latest.updated_at and shown._hash = latest._hash and not latest._is_delete then null
                -- What is younger comes with a window.
                when shown.updated_at >= {{ utc_literal(run_context().extract_from) }}
                    and shown.updated_at < {{ utc_literal(run_context().extract_to) }} then 'missed'
            end as _finding
        from winners
    ),

    final as (
        select
            {% for column in held %}{{ column.quoted }},
            {% endfor -%}
            if(_finding = 'deleted', 'delete', 'upsert') as _op,
            -- A delete has its key and `updated_at` alone: it is the same version whenever it is found.
            if(_finding = 'deleted', {{ version_hash(held) }}, _shown_hash) as _hash,
            current_timestamp(6) as _extracted_at,
            {{ batch() }} as _batch,
            _latest_updated_at,
            _finding
        from compared
        where _finding is not null
    )

    select * from final
{%- endmacro %}
