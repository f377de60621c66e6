-- title: What the judge knows beyond the zero line
-- meaning: Upper end of the 95 % interval of the judge's rank correlation with the share of an answer's words that stand in
--   the document, inside a problem, beyond the answer's own likelihood and length (view `judges`). All of it below: the
--   judge orders blind answers no better than these do, and pairs by it teach nothing of the document.
-- threshold: 0.05
-- direction: at_least
-- blocks: yes
-- needs: 20
SELECT j.run, j.round, beyond + beyond_pm AS value, problems AS n,
       round(beyond, 2) || ' ± ' || round(beyond_pm, 2) || if(beyond - beyond_pm < 0.05 AND beyond + beyond_pm >= 0.05,
           '; some ' || needed || ' problems would tell', '') AS detail
FROM judges j JOIN (SELECT DISTINCT run, round, mode AS judge FROM ratings) m USING (run, round, judge)
WHERE NOT reference
