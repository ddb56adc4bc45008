{#- Trino: expires a table's old snapshots, then removes files that no snapshot references. Safe to run again.
    Given: `catalog`, `table`, `kept_for`, `has_expired`, `tag`. -#}
{%- if has_expired %}
set session {{ catalog }}.expire_snapshots_min_retention = '{{ kept_for }}';
/* {{ tag }} */
alter table {{ catalog }}.{{ table }} execute expire_snapshots(retention_threshold => '{{ kept_for }}');
{%- endif %}
{#- Seven days are the minimum that Trino accepts. Files of a write in progress are younger and so are not removed. #}
/* {{ tag }} */
alter table {{ catalog }}.{{ table }} execute remove_orphan_files(retention_threshold => '7d')
