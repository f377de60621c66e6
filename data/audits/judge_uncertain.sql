-- title: Whether the judge knows more than the zero line
-- meaning: Lower end of the same interval as of judge_adds_nothing. Below: these problems are too few to tell.
-- threshold: 0.05
-- direction: at_least
-- blocks: no
-- needs: 20
SELECT j.run, j.round, beyond - beyond_pm AS value, problems AS n,
       round(beyond, 2) || ' ± ' || round(beyond_pm, 2) || if(beyond - beyond_pm < 0.05 AND beyond + beyond_pm >= 0.05,
           '; some ' || needed || ' problems would tell', '') AS detail
FROM judges j JOIN (SELECT DISTINCT run, round, mode AS judge FROM ratings) m USING (run, round, judge)
WHERE NOT reference
