-- title: Generic criteria
-- meaning: Share of criteria whose name (without numbers) recurs in at least 3 problems and 5 % of them: "clarity" fits
--   every answer and says little of this one.
-- threshold: 0.5
-- direction: at_most
-- blocks: no
-- needs: 10
WITH named AS (
    SELECT run, round, problem_id,
           array_to_string(list_filter(words(name), lambda w: NOT regexp_full_match(w, '[0-9]+')), ' ') AS name
    FROM criteria
),
recurring AS (
    SELECT run, round, name, count(DISTINCT problem_id) AS problems, count(*) AS criteria
    FROM named GROUP BY ALL
),
sizes AS (SELECT run, round, count(DISTINCT problem_id) AS problems FROM named GROUP BY ALL)
SELECT r.run, r.round,
       sum(CASE WHEN r.problems >= greatest(3, s.problems * 0.05) THEN r.criteria ELSE 0 END) / sum(r.criteria) AS value,
       sum(r.criteria)::BIGINT AS n,
       'most often: ' || arg_max(r.name, r.problems) || ' (' || max(r.problems) || ' problems)' AS detail
FROM recurring r JOIN sizes s USING (run, round)
GROUP BY ALL
