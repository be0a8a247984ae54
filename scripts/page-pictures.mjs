// Makes the pictures of the page in docs/pictures, with nano and its video. After a build, with a Chromium on this machine:
//
//   node scripts/page-pictures.mjs [--all FOLDER]
//
// --all: also each state in both colour schemes and two widths, to look at.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { LongVLM } from '../dist/index.js';
import { startService } from '../dist/service/service.js';
import { findFfmpeg } from '../dist/video/ffmpeg.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({ options: { all: { type: 'string' } } });
const executablePath = [process.env.CHROMIUM_PATH, '/usr/bin/chromium', '/usr/bin/google-chrome'].find(
  (path) => path !== undefined && existsSync(path),
);
if (executablePath === undefined) throw new Error('There is no Chromium here. Install it, or set CHROMIUM_PATH.');

const video = join(root, 'models/nano/demo.mp4');
const desktop = { width: 1280, height: 820 };
const phone = { width: 360, height: 760 };

async function openPage(browser, url, { colorScheme, viewport }) {
  const context = await browser.newContext({ viewport, colorScheme });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(url);
  await page.locator('#welcome').waitFor();
  return page;
}

async function ask(page, question) {
  const before = await page.locator('.turn').count();
  await page.getByLabel('Your question').fill(question);
  await page.keyboard.press('Enter');
  await page.locator('.answer:not(:empty):not(.writing)').nth(before).waitFor();
}

/** A page in the middle of a conversation. */
async function atWork(browser, url, look) {
  const page = await openPage(browser, url, look);
  await page.locator('#file').setInputFiles(video);
  await page.locator('.frame').first().waitFor();
  await page.locator('.moment').nth(12).click();
  await ask(page, 'What comes right after the red hearts?');
  await ask(page, 'Describe the video.');
  await page.mouse.move(0, 0);
  await page.waitForTimeout(400);
  return page;
}

/** A screenshot of few colours, which is small. */
async function shoot(page, path) {
  await page.evaluate('scrollTo(0, 0)');
  await page.screenshot({ path: `${path}.whole.png` });
  const { path: ffmpeg } = await findFfmpeg();
  const filter = 'split[a][b];[a]palettegen=max_colors=160[p];[b][p]paletteuse=dither=none';
  execFileSync(ffmpeg, ['-v', 'error', '-y', '-i', `${path}.whole.png`, '-vf', filter, `${path}.png`]);
  rmSync(`${path}.whole.png`);
}

async function pictures(browser, url) {
  const folder = join(root, 'docs/pictures');
  mkdirSync(folder, { recursive: true });
  const page = await atWork(browser, url, { colorScheme: 'light', viewport: desktop });
  await shoot(page, join(folder, 'page'));
  const small = await atWork(browser, url, { colorScheme: 'dark', viewport: phone });
  await shoot(small, join(folder, 'page-phone'));
}

async function everyState(browser, url, folder) {
  mkdirSync(folder, { recursive: true });
  for (const [size, viewport] of Object.entries({ desktop, phone }))
    for (const colorScheme of ['light', 'dark']) {
      const look = { colorScheme, viewport };
      const shot = (page, name) =>
        page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`), fullPage: size === 'phone' });
      await shot(await openPage(browser, url, look), 'welcome');
      const page = await atWork(browser, url, look);
      await shot(page, 'work');
      await page.locator('#budget summary').click();
      await page.getByLabel('Method').selectOption('fastvid');
      await page.getByLabel('Tokens', { exact: true }).fill('160');
      await page.waitForTimeout(800);
      await shot(page, 'budget');
      await page.getByRole('button', { name: 'Show anew' }).click();
      await page.locator('#seen-facts', { hasText: 'fastvid' }).waitFor();
      await page.route('**/v1/chat/completions', (route) => route.abort());
      await page.getByLabel('Your question').fill('What comes first?');
      await page.keyboard.press('Enter');
      await page.waitForTimeout(500);
      await page.locator('#seen').evaluate((each) => each.scrollIntoView());
      await shot(page, 'whole');
    }
}

const vlm = await LongVLM.load({ gpu: 'off', threads: 1 });
const service = await startService(vlm, { port: 0 });
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
try {
  await pictures(browser, service.url);
  if (values.all !== undefined) await everyState(browser, service.url, resolve(values.all));
} finally {
  await browser.close();
  await service.close();
  await vlm.dispose();
}
