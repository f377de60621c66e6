-- title: Saying nothing wins
-- meaning: Mean share of a problem's own answers that score less than the empty answer, a refusal or a lead-in. What says
--   nothing must stand at the bottom, or training on these scores teaches to be evasive.
-- threshold: 0.1
-- direction: at_most
-- blocks: yes
-- needs: 3
SELECT run, round, coalesce(kind, 'all') AS part, avg(beaten) AS value, count(*) AS n
FROM probes WHERE kind IN ('empty', 'refusal', 'lead_in') AND beaten IS NOT NULL
GROUP BY GROUPING SETS ((run, round, kind), (run, round))
