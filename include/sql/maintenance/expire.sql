{#- Trino: expires a table's old snapshots, then removes files that no snapshot references. Both may be repeated.
    Given: `catalog`, `table`, `kept_for`, `has_expired`, `tag`. -#}
{%- if has_expired %}
set session {{ catalog }}.expire_snapshots_min_retention = '{{ kept_for }}';
/* {{ tag }} */
alter table {{ catalog }}.{{ table }} execute expire_snapshots(retention_threshold => '{{ kept_for }}');
{%- endif %}
{#- The least age that Trino accepts: files of a write in progress are younger. #}
/* {{ tag }} */
alter table {{ catalog }}.{{ table }} execute remove_orphan_files(retention_threshold => '7d')
