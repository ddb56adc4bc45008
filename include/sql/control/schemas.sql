-- The schemas of the gold database. Safe to run again.
-- `create schema if not exists` needs the right to create schemas even if all of them exist.
do $$
declare name text;
begin
    for name in select * from unnest(array['audit', 'staging', 'gold']) as names where to_regnamespace(names) is null loop
        execute format('create schema %I', name);
    end loop;
end $$;
