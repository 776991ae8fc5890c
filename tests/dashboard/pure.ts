// The modules of the dashboard that need no browser, in one bundle for the unit tests.
export * as ansi from '../../src/dashboard/ansi';
export * as job_model from '../../src/dashboard/job_model';
export * as lines from '../../src/dashboard/lines';
export * as query from '../../src/dashboard/query';
export * as match from '../../src/dashboard/match';
export * as rows from '../../src/dashboard/rows';
export * as time from '../../src/dashboard/time';
export * as token from '../../src/dashboard/token';
export * as virtual from '../../src/dashboard/virtual';
export * as words from '../../src/dashboard/words';
export * as wrap from '../../src/dashboard/wrap';
