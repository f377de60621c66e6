-- title: Duplicate problems
-- meaning: Share of problems with the very words of another one of this round or of an earlier round of the run.
-- threshold: 0
-- direction: at_most
-- blocks: no
-- needs: 2
SELECT run, round, avg((place > 1)::INT) AS value, count(*) AS n,
       'such as: ' || any_value(problem[:80]) FILTER (place > 1) AS detail
FROM (
    SELECT run, round, problem,
           row_number() OVER (PARTITION BY run, words(problem) ORDER BY round, problem_id) AS place
    FROM problems WHERE status = 'ok' AND reused_from IS NULL
)
GROUP BY ALL
