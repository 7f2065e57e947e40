/** A list as a shell wants it: whole, however many pages it takes. */
import { pageSizeMax } from '../limits.ts';

interface Pages<Item> {
  list(page: {
    page: number;
    page_size: number;
  }): Promise<{ readonly items: readonly Item[]; readonly total: number }>;
}

export async function allPages<Item>(pages: Pages<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for (let page = 1; ; page += 1) {
    const { items, total } = await pages.list({ page, page_size: pageSizeMax });
    all.push(...items);
    if (items.length === 0 || all.length >= total) return all;
  }
}
