-- Version 0.1.0 read the layer out of the task id. Its groups `entities` and `silver` have other names now.
-- Lock this row first, in the same order as publishing, so that the two can't deadlock.
select only_row from audit.pipeline for update;

-- The role has a default, because a task of version 0.1.0 that is still running inserts rows without a role.
alter table audit.data_pipeline_runs add column layer text, add column role text not null default 'build';

update audit.data_pipeline_runs
set task_id = case split_part(task_id, '.', 1)
    when 'entities' then 'silver_staging.' || split_part(task_id, '.', 2)
    else 'silver_marts.' || split_part(task_id, '.', 2)
end
where split_part(task_id, '.', 1) in ('entities', 'silver');

update audit.test_results
set task_id = case split_part(task_id, '.', 1)
    when 'entities' then 'silver_staging.' || split_part(task_id, '.', 2)
    else 'silver_marts.' || split_part(task_id, '.', 2)
end
where split_part(task_id, '.', 1) in ('entities', 'silver');

update audit.data_pipeline_runs
set
    layer = case
        when split_part(task_id, '.', 1) in ('bronze', 'silver_staging', 'silver_marts', 'gold')
            then split_part(task_id, '.', 1)
    end,
    role = case
        when task_id in ('end', 'freshness') then 'watch'
        when task_id in ('measure', 'compact', 'expire') then 'maintain'
        when split_part(task_id, '.', 1) in ('audit', 'stage', 'publish', 'choose', 'restore') then 'publish'
        when task_id = 'silver_staging.test' or split_part(task_id, '.', 1) = 'tests' then 'test'
        else 'build'
    end;
