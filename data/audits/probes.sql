-- title: Probes passed
-- meaning: Share of the probes of a kind whose score came out as it should: an empty answer, a reference with a negated fact,
--   an answer that asks for the top mark …
-- threshold: 0.5
-- direction: at_least
-- blocks: no
-- needs: 3
SELECT run, round, coalesce(kind, 'all') AS part, avg(passed::INT) AS value, count(*) AS n
FROM probes WHERE passed IS NOT NULL
GROUP BY GROUPING SETS ((run, round, kind), (run, round))
