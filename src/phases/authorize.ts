export type Permit = { x: 1 };
